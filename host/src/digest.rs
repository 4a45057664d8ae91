//! Digests that are stored or name files. They come from fixed algorithms: the one behind
//! [`std::hash::DefaultHasher`] may change with the compiler.

use std::fmt::Write as _;

use aws_lc_rs::hmac;

/// HMAC-SHA256 of `parts` as 64 hex digits. Each part goes in with its length, so that no two
/// lists give the same message.
pub(crate) fn keyed(key: &[u8], parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.sign().as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// FNV-1a: names files and notices torn writes. It resists nobody.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether a stored digest has the form of earlier versions: the 16 hex digits of a
/// [`std::hash::DefaultHasher`].
pub(crate) fn is_legacy(digest: &str) -> bool {
    digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_digest_is_hmac_sha256_of_parts_with_lengths() {
        // `printf '\0\0\0\0\0\0\0\1a' | openssl dgst -sha256 -hmac key`
        let expected = "2b2f847a8ddc35a0798156bcd534808ef8cf9fa165daf2d665238a9d7db0f83f";
        assert_eq!(keyed(b"key", &["a"]), expected);
        assert_ne!(keyed(b"key", &["ab", "c"]), keyed(b"key", &["a", "bc"]));
        assert_ne!(keyed(b"key", &["a"]), keyed(b"other", &["a"]));
        assert!(!is_legacy(expected) && is_legacy("0123456789abcdef"));
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
