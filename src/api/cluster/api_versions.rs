//! ApiVersions (key 18): what we speak, straight from the catalogue.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_request::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Context;
use crate::protocol::catalog;

/// First version whose client tells its name and version.
const SOFTWARE_FROM: i16 = 3;

/// First version that tells features (KIP-584).
const FEATURES_FROM: i16 = 3;

/// First version that may tell of a supported feature whose lowest level is 0 (KIP-1022).
const LEVEL_ZERO_FROM: i16 = 4;

/// Features with their highest level. There is nothing for the user to finalise: each is as soon as it is served.
const FEATURES: [(&str, i16); 2] = [("group.version", 1), ("transaction.version", 2)];

/// Lists every API and every feature that is served.
pub fn handle(context: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if context.version >= SOFTWARE_FROM
        && !(is_software_word(&request.client_software_name)
            && is_software_word(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    let keys = catalog::SERVED.iter().map(version_of);
    let mut response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    if context.version >= FEATURES_FROM {
        response.finalized_features_epoch = 0;
        response.finalized_features = FEATURES.iter().map(finalized).collect();
    }
    if context.version >= LEVEL_ZERO_FROM {
        response.supported_features = FEATURES.iter().map(supported).collect();
    }
    response
}

fn finalized((name, level): &(&'static str, i16)) -> FinalizedFeatureKey {
    FinalizedFeatureKey::default()
        .with_name(StrBytes::from_static_str(name))
        .with_min_version_level(*level)
        .with_max_version_level(*level)
}

fn supported((name, level): &(&'static str, i16)) -> SupportedFeatureKey {
    SupportedFeatureKey::default().with_name(StrBytes::from_static_str(name)).with_max_version(*level)
}

/// The answer to an ApiVersions version that we do not know: version 0, and only the range of ApiVersions itself, so
/// that the client can try again (KIP-511).
pub fn unsupported() -> ApiVersionsResponse {
    let own = catalog::find(catalog::API_VERSIONS).map(version_of);
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own.into_iter().collect())
}

fn version_of(entry: &catalog::Entry) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(entry.key)
        .with_min_version(entry.advertised_min)
        .with_max_version(entry.max)
}

/// Kafka's rule for client names and versions (`ApiVersionsRequest.isValid`, KIP-511): letters, digits, and `-` or `.`
/// between them.
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_words_follow_kafkas_rule() {
        for good in ["a", "librdkafka", "confluent-kafka-python", "2.12.1-rdkafka-2.12.1", "4.3.1"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a\n", ".", "ä"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }

    #[test]
    fn an_unknown_version_is_told_the_range_of_this_api_only() {
        let response = unsupported();
        assert_eq!(response.error_code, 35);
        assert_eq!(response.api_keys.len(), 1);
        assert_eq!((response.api_keys[0].api_key, response.api_keys[0].min_version), (18, 0));
    }
}
