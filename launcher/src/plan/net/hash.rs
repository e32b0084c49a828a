//! SipHash-2-4, which systemd derives hardware addresses with. The one in `std` is another or deprecated.

/// The hash of `data` under `key`.
pub(super) fn siphash24(data: &[u8], key: [u8; 16]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    };
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut mix = |block: u64| {
        v[3] ^= block;
        round(&mut v);
        round(&mut v);
        v[0] ^= block;
    };
    let blocks = data.chunks_exact(8);
    let rest = blocks.remainder();
    blocks.for_each(|block| mix(word(block)));
    mix(word(rest) | (data.len() as u64) << 56);
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vectors() {
        let key = std::array::from_fn(|n| u8::try_from(n).unwrap_or_default());
        let data: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(&data, key), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash24(&[], key), 0x726f_db47_dd0e_0e31);
    }
}
