//! ApiVersions (key 18): what we speak, straight from the catalogue.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_request::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

use crate::api::context::Context;
use crate::protocol::catalog;

/// First version whose client tells its name and version.
const SOFTWARE_FROM: i16 = 3;

/// First version that tells features (KIP-584).
const FEATURES_FROM: i16 = 3;

/// Lists every API that is served. No feature is finalised yet: each one is when it is served.
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
    }
    response
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
