// kafkajs (old, non-flexible protocol versions) as a member of a group, until the file JOURNAL.stop appears.
//
//   node member.js BOOTSTRAP GROUP TOPIC eager JOURNAL
//
// groups/journal.py says what the journal holds.
"use strict";

const fs = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");

async function main(bootstrap, group, topic, style, path) {
  if (style !== "eager") {
    throw new Error(`no such style: ${style}`);
  }
  const journal = fs.openSync(path, "a");
  const held = new Set();
  // On Linux, hrtime is CLOCK_MONOTONIC. Straight to the kernel, which keeps it when this process is killed.
  const write = (rows) => {
    const now = process.hrtime.bigint();
    fs.writeSync(journal, rows.map((row) => `${now} ${row}\n`).join(""));
  };
  const letGo = (how) => {
    write([...held].map((partition) => `${how} ${partition}`));
    held.clear();
  };

  const kafka = new Kafka({ clientId: "kafkajs-member", brokers: [bootstrap], logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: 6000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 200,
    metadataMaxAge: 1000,
  });
  // Emitted before the member joins again.
  consumer.on(consumer.events.REBALANCING, () => letGo("revoked"));
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    // Without REBALANCING before it, the group had forgotten this member.
    letGo("lost");
    for (const partition of payload.memberAssignment[topic] ?? []) {
      held.add(partition);
    }
    write([...held].map((partition) => `assigned ${partition}`));
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    console.error(payload.error);
    if (!payload.restart) {
      process.exit(1);
    }
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      const { partition } = batch;
      for (let start = 0; start < batch.messages.length; start += 50) {
        if (!held.has(partition) || !isRunning() || isStale()) {
          return;
        }
        const messages = batch.messages.slice(start, start + 50);
        write(messages.map((message) => `record ${partition} ${message.offset}`));
        const offset = String(Number(messages.at(-1).offset) + 1);
        write([`committing ${partition} ${offset}`]);
        // Fails while the group rebalances; the client then joins again and begins at what is committed.
        await consumer.commitOffsets([{ topic, partition, offset }]);
        write([`committed ${partition} ${offset}`]);
        resolveOffset(messages.at(-1).offset);
        await heartbeat();
      }
    },
  });
  while (!fs.existsSync(`${path}.stop`)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  // Ends the loop that handles records, then leaves the group.
  const stopping = consumer.stop();
  await stopping;
  letGo("revoked");
  await consumer.disconnect();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
