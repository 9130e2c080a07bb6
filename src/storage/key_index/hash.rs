//! The hash that stands for a key.
//!
//! Two keys with the same hash would be one key to the cleaner, and the record of the earlier one would be lost. So the hash
//! is wide (among 10 billion keys the odds of any collision are below 10⁻¹⁸) and keyed with a secret (SipHash-2-4 with 128
//! bits): a client that picks its keys cannot make two collide.

use siphasher::sip128::SipHasher24;
use uuid::Uuid;

/// The hash of a key. Ordered as its bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl KeyHash {
    /// Bytes of a hash.
    pub const LEN: usize = 16;

    /// The hash as bytes, in an order that is that of the hashes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.high.to_be_bytes());
        bytes[8..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    /// The opposite of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let wide = u128::from_be_bytes(bytes);
        Self { high: (wide >> 64) as u64, low: wide as u64 }
    }
}

/// Hashes keys with one secret.
#[derive(Clone, Copy)]
pub struct KeyHasher {
    secret: [u8; 16],
    keyed: SipHasher24,
}

impl KeyHasher {
    /// A hasher with a secret of its own.
    pub fn random() -> Self {
        // 122 bits of the operating system's randomness.
        Self::with_secret(Uuid::new_v4().into_bytes())
    }

    /// The hasher with this secret.
    pub fn with_secret(secret: [u8; 16]) -> Self {
        Self { secret, keyed: SipHasher24::new_with_key(&secret) }
    }

    /// The secret, for whoever keeps hashes and must be able to look them up after a restart.
    pub fn secret(&self) -> [u8; 16] {
        self.secret
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = self.keyed.hash(key);
        KeyHash { high: hash.h1, low: hash.h2 }
    }
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever knows the secret can make keys collide.
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vectors of the authors' reference implementation (`vectors.h` of SipHash, 128 bits).
    #[test]
    fn is_siphash_2_4_of_128_bits() {
        let secret: [u8; 16] = std::array::from_fn(|i| i as u8);
        let hasher = KeyHasher::with_secret(secret);
        let little_endian = |hash: KeyHash| {
            let mut bytes = hash.high.to_le_bytes().to_vec();
            bytes.extend(hash.low.to_le_bytes());
            bytes
        };
        let empty =
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93];
        assert_eq!(little_endian(hasher.hash(b"")), empty);
        let one =
            [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45];
        assert_eq!(little_endian(hasher.hash(&[0])), one);
    }

    #[test]
    fn bytes_keep_the_order() {
        let hasher = KeyHasher::with_secret([7; 16]);
        let mut hashes: Vec<_> = (0..1_000u32).map(|i| hasher.hash(&i.to_be_bytes())).collect();
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0].to_bytes() < pair[1].to_bytes()));
        for hash in hashes {
            assert_eq!(KeyHash::from_bytes(hash.to_bytes()), hash);
        }
    }

    #[test]
    fn another_secret_is_another_hash_and_is_not_shown() {
        let (one, other) = (KeyHasher::random(), KeyHasher::random());
        assert_ne!(one.hash(b"key"), other.hash(b"key"));
        assert_eq!(KeyHasher::with_secret(one.secret()).hash(b"key"), one.hash(b"key"));
        assert_eq!(format!("{one:?}"), "KeyHasher { .. }");
    }
}
