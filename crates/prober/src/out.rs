//! The way to the supervisor: a copy of standard output that nobody else knows. What libraries print goes to standard
//! error.

use firstlight_contract::prober::{Asking, Message};
use std::fs::File;
use std::io::{self, Write as _};

/// The pipe.
pub(crate) struct Out(File);

impl Out {
    pub(crate) fn new() -> io::Result<Self> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        Ok(Self(pipe.into()))
    }

    pub(crate) fn say(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(format!("{}\n", message.line()).as_bytes())
    }

    /// From now on, whoever hears nothing knows where it hangs.
    pub(crate) fn asking(&mut self, call: &str, card: Option<&str>) -> io::Result<()> {
        self.say(&Message::Asking(Asking { call: call.to_owned(), card: card.map(str::to_owned) }))
    }
}
