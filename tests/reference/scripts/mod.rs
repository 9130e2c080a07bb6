//! What is asked. Each test is a script, and its recording has the name that it gives itself.

mod find_coordinator;
