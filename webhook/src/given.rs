//! A certificate that somebody else keeps: cert-manager, or a Secret of the operator's.
//!
//! The contents are compared, not the files' events: the kubelet swaps a link above them, which a watch on a file
//! sees once and never again.

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::tls::{Pair, Serving};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a directory with `tls.crt` and `tls.key`, again and again.
#[derive(Debug)]
pub struct Given {
    /// The directory.
    pub dir: PathBuf,
    /// How often.
    pub every: Duration,
    /// Where the pair is served.
    pub serving: Arc<Serving>,
    /// What is told whether there is one.
    pub readiness: Arc<Readiness>,
    /// Failures, and when the pair expires.
    pub metrics: Metrics,
}

type Contents = Result<(String, String), String>;

impl Given {
    /// Runs until the process ends.
    pub async fn run(self) {
        let mut seen = None;
        loop {
            self.look(&mut seen);
            tokio::time::sleep(self.every).await;
        }
    }

    /// Serves what is new and good. What is bad is told once; the old pair stays.
    fn look(&self, seen: &mut Option<Contents>) {
        let contents = self.contents();
        if seen.as_ref() == Some(&contents) {
            return;
        }
        let parsed = contents.as_ref().map_err(Clone::clone).and_then(|(chain, key)| {
            Pair::parse(chain, key, SystemTime::now()).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(pair) => {
                let until = pair.validity.until.duration_since(UNIX_EPOCH).unwrap_or_default();
                self.metrics.certificate_expiry.set(until.as_secs_f64());
                tracing::info!(expires = until.as_secs(), dir = %self.dir.display(), "new certificate");
                self.serving.swap(pair);
                self.readiness.reachable();
            }
            Err(problem) => {
                self.metrics.certificate_failures.inc();
                let sentence = format!(
                    "no certificate in {}: {problem}; wanted tls.crt and tls.key in PEM",
                    self.dir.display()
                );
                tracing::error!("{sentence}");
                self.readiness.obstacle(sentence);
            }
        }
        *seen = Some(contents);
    }

    fn contents(&self) -> Contents {
        let read = |name: &str| {
            std::fs::read_to_string(self.dir.join(name)).map_err(|error| format!("{name}: {error}"))
        };
        Ok((read("tls.crt")?, read("tls.key")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Renewal, Terms, renew};
    use std::os::unix::fs::symlink;

    fn pair() -> (String, String) {
        let terms = Terms {
            dns_name: "hook.ns.svc".to_owned(),
            ca: Duration::from_hours(2),
            leaf: Duration::from_hours(1),
        };
        let Renewal::Replace(shared, _) = renew(None, &terms, SystemTime::now()).unwrap() else {
            panic!("kept")
        };
        (shared.leaf, shared.leaf_key)
    }

    #[test]
    fn a_swapped_link_is_followed_each_time_and_a_bad_pair_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let serving = Arc::new(Serving::default());
        let given = Given {
            dir: dir.path().to_owned(),
            every: Duration::from_secs(10),
            readiness: Arc::new(Readiness::new(Arc::clone(&serving))),
            serving,
            metrics: Metrics::new().unwrap(),
        };
        let mut seen = None;
        given.look(&mut seen);
        let why = given.readiness.unready(SystemTime::now()).unwrap();
        assert!(why.contains("tls.crt") && why.contains("No such file"), "{why}");
        // As the kubelet does it: files are links into `..data`, which is a link to a folder of this moment.
        symlink("..data/tls.crt", dir.path().join("tls.crt")).unwrap();
        symlink("..data/tls.key", dir.path().join("tls.key")).unwrap();
        let publish = |moment: &str, (chain, key): &(String, String)| {
            std::fs::create_dir(dir.path().join(moment)).unwrap();
            std::fs::write(dir.path().join(moment).join("tls.crt"), chain).unwrap();
            std::fs::write(dir.path().join(moment).join("tls.key"), key).unwrap();
            symlink(moment, dir.path().join("..next")).unwrap();
            std::fs::rename(dir.path().join("..next"), dir.path().join("..data")).unwrap();
        };
        let pairs = [pair(), pair(), pair()];
        for (index, pair) in pairs.iter().enumerate() {
            publish(&format!("..{index}"), pair);
            given.look(&mut seen);
            let expected = Pair::parse(&pair.0, &pair.1, SystemTime::now()).unwrap();
            assert!(given.serving.current().unwrap().same(&expected), "rotation {index}");
        }
        assert_eq!(given.readiness.unready(SystemTime::now()), None);
        let failures = given.metrics.certificate_failures.get();
        publish("..bad", &(pairs[0].0.clone(), pairs[1].1.clone()));
        given.look(&mut seen);
        given.look(&mut seen);
        assert_eq!(given.metrics.certificate_failures.get(), failures + 1, "told once");
        let last = Pair::parse(&pairs[2].0, &pairs[2].1, SystemTime::now()).unwrap();
        assert!(given.serving.current().unwrap().same(&last));
        assert_eq!(given.readiness.unready(SystemTime::now()), None);
    }
}
