//! Are you there? Is it there?
//!
//! A validator that doubts another asks it, and asks others to ask it: an answer that comes through another path shows
//! that the link is at fault and not the validator. Answers are signed by who gives them over the question, so that a
//! helper cannot vouch for the dead. Whoever helps remembers nothing: question and answer name who asked.

use commonware_codec::DecodeExt as _;
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, PublicKey, Signature},
};
use ledger::{Decode, DecodeError, Encode, Reader};

/// A question or an answer. Validators are named by their place in the roster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Whoever gets this says that it is there, to who sent it.
    Ask(Question),
    /// Whoever gets this asks `about`, and passes on what it answers.
    AskFor {
        /// The question.
        question: Question,
        /// About whom.
        about: u32,
    },
    /// "I am there."
    Here {
        /// What was asked.
        question: Question,
        /// Of the question.
        answer: Answer,
    },
    /// "It is there, by its own word."
    Answered {
        /// What was asked.
        question: Question,
        /// Who is there.
        about: u32,
        /// Its answer to the question.
        answer: Answer,
    },
}

/// What was asked, by whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question {
    /// Chosen by who asks, for this once.
    pub nonce: u64,
    /// Who asks.
    pub asker: u32,
}

/// The signature of who is there over a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer([u8; 64]);

/// The most bytes of a probe.
pub const PROBE_BYTES_MAX: usize = 1 + 8 + 4 + 4 + 64;

impl Question {
    /// The answer of the holder of `key`.
    pub fn answer(&self, key: &PrivateKey, namespace: &[u8]) -> Answer {
        let signature = key.sign(&signed_under(namespace), &self.encode());
        Answer(signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }

    /// Whether `answer` is that of `key`.
    pub fn is_answered(&self, answer: &Answer, key: &PublicKey, namespace: &[u8]) -> bool {
        Signature::decode(bytes::Bytes::copy_from_slice(&answer.0))
            .is_ok_and(|signature| key.verify(&signed_under(namespace), &self.encode(), &signature))
    }
}

fn signed_under(namespace: &[u8]) -> Vec<u8> {
    [namespace, b"/probe"].concat()
}

impl Encode for Question {
    fn write(&self, out: &mut Vec<u8>) {
        self.nonce.write(out);
        self.asker.write(out);
    }
}

impl Decode for Question {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: u64::read(r)?, asker: u32::read(r)? })
    }
}

impl Decode for Answer {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array().map(Self)
    }
}

impl Encode for Answer {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Encode for Probe {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask(question) => {
                out.push(0);
                question.write(out);
            }
            Self::AskFor { question, about } => {
                out.push(1);
                question.write(out);
                about.write(out);
            }
            Self::Here { question, answer } => {
                out.push(2);
                question.write(out);
                answer.write(out);
            }
            Self::Answered { question, about, answer } => {
                out.push(3);
                question.write(out);
                about.write(out);
                answer.write(out);
            }
        }
    }
}

impl Decode for Probe {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (tag, question) = (u8::read(r)?, Question::read(r)?);
        match tag {
            0 => Ok(Self::Ask(question)),
            1 => Ok(Self::AskFor { question, about: u32::read(r)? }),
            2 => Ok(Self::Here { question, answer: Answer::read(r)? }),
            3 => Ok(Self::Answered { question, about: u32::read(r)?, answer: Answer::read(r)? }),
            got => Err(DecodeError::Tag { what: "probe", got }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question = Question { nonce: 7, asker: 2 };

    #[test]
    fn every_probe_is_read_back_and_garbage_is_refused() {
        let (question, answer) = (QUESTION, QUESTION.answer(&PrivateKey::from_seed(1), b"chain"));
        let probes = [
            Probe::Ask(question),
            Probe::AskFor { question, about: 3 },
            Probe::Here { question, answer },
            Probe::Answered { question, about: 3, answer },
        ];
        for probe in probes {
            let bytes = probe.encode();
            assert!(bytes.len() <= PROBE_BYTES_MAX);
            assert_eq!(Probe::decode(&bytes), Ok(probe));
            assert!(Probe::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(Probe::decode(&[4; 13]).is_err());
    }

    #[test]
    fn an_answer_is_of_one_validator_to_one_question_on_one_chain() {
        let (key, other) = (PrivateKey::from_seed(1), PrivateKey::from_seed(2));
        let answer = QUESTION.answer(&key, b"chain");
        assert!(QUESTION.is_answered(&answer, &key.public_key(), b"chain"));
        assert!(!QUESTION.is_answered(&answer, &other.public_key(), b"chain"));
        assert!(!QUESTION.is_answered(&answer, &key.public_key(), b"another"));
        for question in [Question { nonce: 8, ..QUESTION }, Question { asker: 3, ..QUESTION }] {
            assert!(!question.is_answered(&answer, &key.public_key(), b"chain"));
        }
    }
}
