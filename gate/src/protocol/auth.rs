//! Password proofs of `mysql_native_password` and `caching_sha2_password`, made and checked.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

pub const NATIVE: &str = "mysql_native_password";
pub const SHA2: &str = "caching_sha2_password";

/// Length of a challenge.
pub const NONCE_LEN: usize = 20;

/// A fresh challenge. Its bytes are printable, as the protocol ends it with a zero byte.
pub fn nonce() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    for byte in &mut nonce {
        *byte = rand::random_range(33..=126);
    }
    nonce
}

fn xor(left: &mut [u8], right: &[u8]) {
    for (a, b) in left.iter_mut().zip(right) {
        *a ^= b;
    }
}

/// Compares in time that does not depend on where they differ.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

/// `SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))`; nothing for an empty password.
pub fn native_proof(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = Sha1::digest(password);
    let stage2 = Sha1::digest(stage1);
    let mut proof: Vec<u8> = Sha1::new()
        .chain_update(nonce)
        .chain_update(stage2)
        .finalize()
        .to_vec();
    xor(&mut proof, &stage1);
    proof
}

/// Whether a proof was made with the password of which `verifier` is `SHA1(SHA1(password))`
/// (empty: an empty password).
pub fn check_native(proof: &[u8], nonce: &[u8], verifier: &[u8]) -> bool {
    if verifier.is_empty() || proof.is_empty() {
        return verifier.is_empty() && proof.is_empty();
    }
    if proof.len() != 20 {
        return false;
    }
    let mut stage1: Vec<u8> = Sha1::new()
        .chain_update(nonce)
        .chain_update(verifier)
        .finalize()
        .to_vec();
    xor(&mut stage1, proof);
    equal(&Sha1::digest(&stage1), verifier)
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)`; nothing for an empty password.
pub fn sha2_proof(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = Sha256::digest(password);
    let stage2 = Sha256::digest(stage1);
    let mut proof: Vec<u8> = Sha256::new()
        .chain_update(stage2)
        .chain_update(nonce)
        .finalize()
        .to_vec();
    xor(&mut proof, &stage1);
    proof
}

/// Whether a proof was made with the password of which `verifier` is `SHA256(SHA256(password))`
/// (empty: an empty password).
pub fn check_sha2(proof: &[u8], nonce: &[u8], verifier: &[u8]) -> bool {
    // Clients send a single zero byte for an empty password.
    let proof = if proof == [0] { &[] } else { proof };
    if verifier.is_empty() || proof.is_empty() {
        return verifier.is_empty() && proof.is_empty();
    }
    if proof.len() != 32 {
        return false;
    }
    let mut stage1: Vec<u8> = Sha256::new()
        .chain_update(verifier)
        .chain_update(nonce)
        .finalize()
        .to_vec();
    xor(&mut stage1, proof);
    equal(&Sha256::digest(&stage1), verifier)
}

/// What full authentication sends over a connection that is not encrypted: the password with its
/// zero byte, masked with the nonce and encrypted with the server's public key (PEM).
/// `None`: the key is not one.
pub fn rsa_password(password: &[u8], nonce: &[u8], public_key_pem: &[u8]) -> Option<Vec<u8>> {
    let pem = std::str::from_utf8(public_key_pem).ok()?;
    if !pem.contains("-----BEGIN PUBLIC KEY-----") || !pem.contains("-----END PUBLIC KEY-----") {
        return None;
    }
    let mut masked = password.to_vec();
    masked.push(0);
    for (i, byte) in masked.iter_mut().enumerate() {
        *byte ^= nonce[i % nonce.len()];
    }
    Some(mysql_common::crypto::encrypt(&masked, public_key_pem))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vtplan_state::model::UserRecord;

    use super::*;

    fn verifiers(password: &str) -> (Vec<u8>, Vec<u8>) {
        let record = UserRecord::from_password("app", password);
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        (bytes(&record.native_verifier), bytes(&record.sha2_verifier))
    }

    proptest! {
        #[test]
        fn a_proof_is_accepted_exactly_for_its_password(password in ".{0,12}", other in ".{0,12}") {
            let nonce = nonce();
            let (native, sha2) = verifiers(&password);
            let native_proof = native_proof(other.as_bytes(), &nonce);
            let sha2_proof = sha2_proof(other.as_bytes(), &nonce);
            prop_assert_eq!(check_native(&native_proof, &nonce, &native), password == other);
            prop_assert_eq!(check_sha2(&sha2_proof, &nonce, &sha2), password == other);
        }

        #[test]
        fn no_bytes_pass_as_a_proof(proof: Vec<u8>) {
            let (native, sha2) = verifiers("secret");
            prop_assert!(!check_native(&proof, &nonce(), &native));
            prop_assert!(!check_sha2(&proof, &nonce(), &sha2));
        }
    }
}
