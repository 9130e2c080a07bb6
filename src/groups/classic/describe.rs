//! What DescribeGroups shows.

use bytes::Bytes;

use super::super::request::{ClassicDescription, ClassicMemberDescription};
use super::group::{ClassicGroup, State};

impl ClassicGroup {
    /// The group as DescribeGroups shows it: the protocol and the members' metadata only while it is stable, the
    /// assignments as they are.
    pub fn describe(&self) -> ClassicDescription {
        let protocol = if self.state == State::Stable { self.protocol_name() } else { None };
        let members = self.members.values().map(|member| ClassicMemberDescription {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            client: member.client.clone(),
            metadata: protocol.map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
            assignment: member.assignment.clone(),
        });
        ClassicDescription {
            state: self.state_name(),
            protocol_type: self.protocol_type().unwrap_or_default().to_owned(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }
}
