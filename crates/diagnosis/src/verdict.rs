//! The verdict on a container, and what Kubernetes is told of it.

use crate::catalogue::Cause;
use crate::stage::Stage;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::names::{condition, event};

/// How sure a verdict is of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Nothing more than a code and the last question.
    Unknown,
    /// Consistent with all that was seen; another cause is not excluded.
    Likely,
    /// The evidence that tells this cause from its look-alikes was seen.
    Certain,
}

impl Confidence {
    /// Word for JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }

    /// The confidence of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Unknown, Self::Likely, Self::Certain].into_iter().find(|value| value.as_str() == word)
    }
}

/// A cause that was considered and does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuledOut {
    /// The cause.
    pub cause: Cause,
    /// Why not: a sentence.
    pub why: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Truth {
    /// A usable GPU was seen.
    True,
    /// CUDA failed, or a runner does without the GPU.
    False,
    /// Neither is proven.
    Unknown,
}

impl Truth {
    /// As the API server spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is concluded about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Success, failure, or neither is proven.
    pub outcome: Outcome,
    /// The first failing stage, or the furthest one that was reached.
    pub stage: Stage,
    /// The one cause.
    pub cause: Cause,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// What was seen: sentences, the most telling first. Never empty.
    pub evidence: Vec<String>,
    /// What does not fit.
    pub ruled_out: Vec<RuledOut>,
    /// What to do: a sentence.
    pub fix: String,
    /// Status of the condition [`condition::GPU_READY`].
    pub ready: Truth,
    /// Whether a usable GPU had been seen before this failure: a fallback, not a failed start.
    pub fallback: bool,
    /// Whether kernels were launched and waited for in a process that serves a model.
    pub confirmed: bool,
    /// Whether the GPU is a simulated one.
    pub simulated: bool,
}

/// What is written into the pod's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Status.
    pub status: Truth,
    /// Reason, CamelCase.
    pub reason: &'static str,
    /// Message, at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// What is written as an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Reason, CamelCase.
    pub reason: &'static str,
    /// Whether it is a warning.
    pub warning: bool,
    /// Message, at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// Longest message: an Event's `note` may have 1 KiB (kubernetes, pkg/apis/core/validation/events.go).
pub const MAX_MESSAGE: usize = 1024;

impl Verdict {
    /// The pod condition that says this verdict.
    pub fn condition(&self) -> Condition {
        let reason = match (self.outcome, self.simulated) {
            (Outcome::Success, true) => condition::REASON_SIMULATED,
            (Outcome::Success, false) => condition::REASON_USABLE,
            _ => self.cause.reason(),
        };
        Condition { status: self.ready, reason, message: self.message() }
    }

    /// The Event that says this verdict; `None` where there is nothing to tell yet.
    pub fn event(&self) -> Option<Event> {
        let (reason, warning) = match (self.outcome, self.ready) {
            (Outcome::Success, _) => (event::CUDA_READY, false),
            (Outcome::Failure, _) if self.fallback => (event::CUDA_FALLBACK, true),
            (Outcome::Failure, _) => (event::CUDA_INIT_FAILED, true),
            (Outcome::Unknown, Truth::False) => (event::CUDA_FALLBACK, true),
            (Outcome::Unknown, _) => return None,
        };
        Some(Event { reason, warning, message: self.message() })
    }

    /// The verdict in a few sentences: cause and stage, evidence, fix.
    pub fn message(&self) -> String {
        let mut text = self.headline();
        for sentence in self.evidence.iter().take(3) {
            text.push(' ');
            text.push_str(sentence);
        }
        if self.outcome != Outcome::Success {
            text.push(' ');
            text.push_str(&self.fix);
        }
        cut(&text)
    }

    /// One sentence: what is the case.
    pub fn headline(&self) -> String {
        let what = self.cause.row().what;
        let sentence = match self.outcome {
            Outcome::Success if self.confirmed => {
                format!("{what}, and kernels ran on it in the process that serves the model.")
            }
            Outcome::Success => format!("{what}."),
            _ => format!("{what} (stage {}, {}).", self.stage, self.confidence.as_str()),
        };
        Voice { simulated: self.simulated }.say(&sentence)
    }
}

fn cut(text: &str) -> String {
    const MARK: &str = "…";
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let mut end = MAX_MESSAGE - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

/// How sentences are spoken: in a simulated pool, each begins with "Simulated".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) simulated: bool,
}

impl Voice {
    /// The sentence with a capital letter, or with "Simulated:" before it.
    pub(crate) fn say(self, sentence: &str) -> String {
        if self.simulated {
            return format!("Simulated: {sentence}");
        }
        // Names of functions and variables keep their case.
        let first = sentence.split(' ').next().unwrap_or_default();
        let plain = first.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'\'' || byte == b',');
        let mut letters = sentence.chars();
        match letters.next() {
            Some(letter) if plain => letter.to_uppercase().chain(letters).collect(),
            _ => sentence.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_about_a_simulated_gpu_says_so_first() {
        assert_eq!(Voice { simulated: true }.say("the driver refused."), "Simulated: the driver refused.");
        assert_eq!(Voice { simulated: false }.say("the driver refused."), "The driver refused.");
        assert_eq!(Voice { simulated: false }.say("cuInit returned 3."), "cuInit returned 3.");
    }

    #[test]
    fn a_message_fits_into_an_event() {
        let long = "ü".repeat(MAX_MESSAGE);
        assert!(cut(&long).len() <= MAX_MESSAGE);
        assert!(cut(&long).ends_with('…'));
    }
}
