//! Settings of groups: resource type 32 of IncrementalAlterConfigs, DescribeConfigs and ListConfigResources (KIP-848, KIP-1142).

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::play::play;
use crate::requests::{beat, commit, enter, text};

/// The resource type of groups.
const GROUP: i8 = 32;
/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn alter(group: &str, configs: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let configs = configs.iter().map(|(name, operation, value)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configs(configs.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn describe(group: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

#[test]
fn group_configs() {
    play("group-configs", |s| {
        let topic = s.topic("topic", 1);
        let none = s.name("none");
        for version in [1, 2, 4] {
            s.step(&format!("describe v{version} of a group that there is not"));
            s.call("x", version, &describe(&none, Some(&[SESSION, HEARTBEAT, "nonsense"])));
            s.call("x", version, &describe(&none, Some(&[])));
            s.step(&format!("describe v{version} of an empty name"));
            s.call("x", version, &describe("", Some(&[SESSION])));
        }
        s.step("describe with synonyms and documentation");
        let told = describe(&none, Some(&[SESSION])).with_include_synonyms(true);
        s.call("x", 4, &told);
        s.step("describe all");
        s.call("x", 4, &describe(&none, None));
        for version in 0..=1 {
            let group = s.name(&format!("v{version}"));
            s.step(&format!("alter v{version} a group that there is not yet"));
            s.call("x", version, &alter(&group, &[(SESSION, SET, Some("50000"))]));
            s.call("x", 4, &describe(&group, Some(&[SESSION, HEARTBEAT])));
            s.step(&format!("alter v{version} validate only"));
            s.call("x", version, &alter(&group, &[(SESSION, SET, Some("51000"))]).with_validate_only(true));
            s.call("x", version, &alter(&group, &[(SESSION, SET, Some("1"))]).with_validate_only(true));
            s.call("x", 4, &describe(&group, Some(&[SESSION])));
            s.step(&format!("alter v{version} out of bounds"));
            for value in ["99", "60001", "-1", "0", "many", "", "2147483648"] {
                s.call("x", version, &alter(&group, &[(SESSION, SET, Some(value))]));
            }
            s.call("x", version, &alter(&group, &[(HEARTBEAT, SET, Some("99"))]));
            s.call("x", version, &alter(&group, &[(HEARTBEAT, SET, Some("15001"))]));
            s.step(&format!("alter v{version} a heartbeat interval longer than the session"));
            s.call(
                "x",
                version,
                &alter(&group, &[(HEARTBEAT, SET, Some("900")), (SESSION, SET, Some("800"))]),
            );
            s.call(
                "x",
                version,
                &alter(&group, &[(HEARTBEAT, SET, Some("900")), (SESSION, SET, Some("900"))]),
            );
            s.step(&format!("alter v{version} an unknown key"));
            s.call("x", version, &alter(&group, &[("nonsense", SET, Some("1"))]));
            s.call("x", version, &alter(&group, &[("session.timeout.ms", SET, Some("1"))]));
            s.call("x", version, &alter(&group, &[("nonsense", DELETE, None)]));
            s.step(&format!("alter v{version} good and bad together"));
            let both = [(HEARTBEAT, SET, Some("5000")), ("nonsense", SET, Some("1"))];
            s.call("x", version, &alter(&group, &both));
            s.call("x", 4, &describe(&group, Some(&[SESSION, HEARTBEAT])));
            s.step(&format!("alter v{version} an empty name"));
            s.call("x", version, &alter("", &[(SESSION, SET, Some("50000"))]));
            s.call("x", version, &alter("", &[("nonsense", SET, Some("50000"))]));
            s.step(&format!("alter v{version} nothing"));
            s.call("x", version, &alter(&group, &[]));
            s.step(&format!("alter v{version} null, twice, and odd operations"));
            s.call("x", version, &alter(&group, &[(SESSION, SET, None)]));
            s.call(
                "x",
                version,
                &alter(&group, &[(SESSION, SET, Some("50001")), (SESSION, SET, Some("50002"))]),
            );
            s.call("x", version, &alter(&group, &[(SESSION, APPEND, Some("50001"))]));
            s.call("x", version, &alter(&group, &[(SESSION, SUBTRACT, Some("50001"))]));
            s.call("x", version, &alter(&group, &[(SESSION, 9, Some("50001"))]));
            s.step(&format!("alter v{version} a group twice in one request"));
            let mut twice = alter(&group, &[(SESSION, SET, Some("50001"))]);
            twice.resources.push(twice.resources[0].clone());
            s.call("x", version, &twice);
            s.step(&format!("alter v{version} back to the default"));
            s.call("x", version, &alter(&group, &[(SESSION, DELETE, None), (HEARTBEAT, DELETE, None)]));
            s.call("x", 4, &describe(&group, Some(&[SESSION, HEARTBEAT])));
            s.call("x", version, &alter(&group, &[(SESSION, DELETE, None)]));
        }
        s.step("a group of its own interval tells its members");
        let group = s.name("told");
        s.call("x", 1, &alter(&group, &[(HEARTBEAT, SET, Some("700"))]));
        s.call("m", 1, &enter(&group, "m1", &[&topic]));
        s.call("x", 1, &alter(&group, &[(HEARTBEAT, SET, Some("800"))]));
        s.repeat("m", 1, &beat(&group, "m1", 2), |answer| answer.heartbeat_interval_ms == 800);
        s.step("the settings of a classic group are the same");
        let group = s.name("classic");
        super::classic::stable(s, &group);
        s.call("x", 4, &describe(&group, Some(&[SESSION])));
        s.step("the settings stay when a group is deleted");
        let group = s.name("deleted");
        s.call("x", 1, &alter(&group, &[(SESSION, SET, Some("50000"))]));
        s.call("x", 9, &commit(&group, -1, "", &[(&topic, 0, 1)]));
        let delete = kafka_protocol::messages::DeleteGroupsRequest::default()
            .with_groups_names(crate::requests::groups(&[&group]));
        s.call("x", 2, &delete);
        s.call("x", 4, &describe(&group, Some(&[SESSION])));
    });
}

#[test]
fn list_config_resources() {
    play("list-config-resources", |s| {
        s.topic("topic", 1);
        let types = |types: &[i8]| ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
        s.step("groups with settings and without");
        let (set, back, empty) = (s.name("set"), s.name("set-back"), s.name("never-set"));
        s.call("x", 1, &alter(&set, &[(SESSION, SET, Some("50000"))]));
        s.call("x", 1, &alter(&back, &[(SESSION, SET, Some("50000"))]));
        s.call("x", 1, &alter(&back, &[(SESSION, DELETE, None)]));
        super::classic::stable(s, &empty);
        s.step("v0 client metrics only");
        s.call("x", 0, &types(&[]));
        s.step("v1 groups");
        s.call("x", 1, &types(&[GROUP]));
        s.step("v1 topics, brokers, broker loggers, client metrics, each alone");
        for of in [2, 4, 8, 16] {
            s.call("x", 1, &types(&[of]));
        }
        s.step("v1 groups and topics");
        s.call("x", 1, &types(&[GROUP, 2]));
        s.step("v1 groups twice");
        s.call("x", 1, &types(&[GROUP, GROUP]));
        s.step("v1 unknown types");
        s.call("x", 1, &types(&[0]));
        s.call("x", 1, &types(&[3]));
        s.call("x", 1, &types(&[-1]));
        s.call("x", 1, &types(&[GROUP, 3]));
        s.step("v1 everything");
        s.call("x", 1, &types(&[]));
    });
}
