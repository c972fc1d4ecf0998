//! Flags: what was typed ([`Args`]) becomes what it means ([`Config`]); all mistakes at once.

use clap::Parser;
use firstlight_contract::pools::Pools;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The Firstlight admission webhook: gives pods that ask for it by annotation what they need to get a GPU.
#[derive(Clone, Debug, Parser)]
#[command(name = "firstlight-webhook")]
pub struct Args {
    /// Pool configuration, YAML; read again when its content changes.
    #[arg(long, env = "FIRSTLIGHT_CONFIG", default_value = "/etc/firstlight/pools.yaml")]
    pub config: PathBuf,
    /// Address of the admission server (TLS).
    #[arg(long, env = "FIRSTLIGHT_LISTEN", default_value = "[::]:8443")]
    pub listen: String,
    /// Address of metrics and health (plain HTTP).
    #[arg(long, env = "FIRSTLIGHT_METRICS_LISTEN", default_value = "[::]:8080")]
    pub metrics_listen: String,
    /// Log levels, such as `info,firstlight_webhook=debug`.
    #[arg(long, env = "FIRSTLIGHT_LOG", default_value = "info")]
    pub log: String,
    /// Directory with `tls.crt` and `tls.key` that somebody else keeps; without it, the webhook makes its own.
    #[arg(long, env = "FIRSTLIGHT_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Our namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "")]
    pub namespace: String,
    /// Name of our Service; the certificate is for `<service>.<namespace>.svc`.
    #[arg(long, env = "FIRSTLIGHT_SERVICE", default_value = "")]
    pub service: String,
    /// The Secret in which all replicas keep authority and certificate.
    #[arg(long, env = "FIRSTLIGHT_SECRET", default_value = "")]
    pub secret: String,
    /// Our Deployment, owner of the Secret.
    #[arg(long, env = "FIRSTLIGHT_DEPLOYMENT", default_value = "")]
    pub deployment: String,
    /// The MutatingWebhookConfiguration whose caBundle is ours.
    #[arg(long, env = "FIRSTLIGHT_WEBHOOK_CONFIGURATION", default_value = "")]
    pub webhook_configuration: String,
    /// Whether to look for what was annotated and never injected: `true` or `false`.
    #[arg(long, env = "FIRSTLIGHT_SEARCH", default_value = "true")]
    pub search: String,
    /// Namespaces that the webhook configuration excludes, beside ours; separated by commas.
    #[arg(long, env = "FIRSTLIGHT_EXCLUDED_NAMESPACES", default_value = "")]
    pub excluded_namespaces: String,
    /// Life of our authority; a new one is made at two thirds.
    #[arg(long, env = "FIRSTLIGHT_CA_LIFETIME", default_value = "87600h")]
    pub ca_lifetime: String,
    /// Life of our certificate; a new one is made at two thirds.
    #[arg(long, env = "FIRSTLIGHT_LEAF_LIFETIME", default_value = "2160h")]
    pub leaf_lifetime: String,
    /// From a new authority in the configuration to the first use of its certificate.
    #[arg(long, env = "FIRSTLIGHT_SETTLE", default_value = "5s")]
    pub settle: String,
    /// How often configuration, certificates and caBundle are looked at.
    #[arg(long, env = "FIRSTLIGHT_RELOAD", default_value = "10s")]
    pub reload: String,
    /// After SIGTERM: not ready, but still serving.
    #[arg(long, env = "FIRSTLIGHT_LINGER", default_value = "4s")]
    pub linger: String,
    /// After that: how long requests in flight may take.
    #[arg(long, env = "FIRSTLIGHT_DRAIN", default_value = "8s")]
    pub drain: String,
    /// Connections to the admission server at a time.
    #[arg(long, env = "FIRSTLIGHT_MAX_CONNECTIONS", default_value = "128")]
    pub max_connections: String,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the pools are configured.
    pub pools_file: PathBuf,
    /// The pools that were configured at the start.
    pub pools: Pools,
    /// Address of the admission server.
    pub listen: SocketAddr,
    /// Address of metrics and health.
    pub metrics_listen: SocketAddr,
    /// Log levels.
    pub log: tracing_subscriber::filter::Targets,
    /// Who provides the certificate.
    pub certificate: Source,
    /// Whether to look for what was annotated and never injected.
    pub search: bool,
    /// Namespaces about which the API server does not ask us.
    pub excluded: BTreeSet<String>,
    /// How often files and objects are looked at.
    pub reload: Duration,
    /// After SIGTERM: not ready, but still serving.
    pub linger: Duration,
    /// After that: how long requests in flight may take.
    pub drain: Duration,
    /// Connections to the admission server at a time.
    pub max_connections: usize,
}

/// Who provides the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody else, in this directory.
    Given(PathBuf),
    /// We, by these objects.
    Own(Own),
}

/// The objects and times of a certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Our namespace.
    pub namespace: String,
    /// Name of our Service.
    pub service: String,
    /// The Secret that all replicas share.
    pub secret: String,
    /// The Secret's owner.
    pub deployment: String,
    /// The MutatingWebhookConfiguration whose caBundle is ours.
    pub webhook_configuration: String,
    /// Life of an authority.
    pub ca: Duration,
    /// Life of a certificate.
    pub leaf: Duration,
    /// From a new authority in the configuration to the first use of its certificate.
    pub settle: Duration,
}

/// All mistakes of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    /// Reads the pool file; touches nothing.
    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let yaml = std::fs::read_to_string(&args.config).map_err(|error| error.to_string());
        Self::check(args, yaml)
    }
}

/// Collects mistakes; each reading returns a value of no meaning where there was one.
struct Reader(Vec<String>);

impl Reader {
    fn duration(&mut self, flag: &str, text: &str) -> Duration {
        duration(text).unwrap_or_else(|| {
            self.0.push(format!("{flag} {text}: wanted a time such as 500ms, 30s, 5m, 2160h or 90d"));
            Duration::ZERO
        })
    }

    fn address(&mut self, flag: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.0.push(format!("{flag} {text}: wanted an address with port, such as 0.0.0.0:8443"));
            SocketAddr::from(([0, 0, 0, 0], 0))
        })
    }

    fn name(&mut self, flag: &str, text: String) -> String {
        if text.is_empty() {
            self.0
                .push(format!("{flag} is missing; without --tls-dir the webhook makes its own certificate"));
        }
        text
    }
}

impl Config {
    fn check(args: Args, yaml: Result<String, String>) -> Result<Self, ConfigError> {
        // Without `..`: a new flag cannot be forgotten here.
        let Args {
            config,
            listen,
            metrics_listen,
            log,
            tls_dir,
            namespace,
            service,
            secret,
            deployment,
            webhook_configuration,
            search,
            excluded_namespaces,
            ca_lifetime,
            leaf_lifetime,
            settle,
            reload,
            linger,
            drain,
            max_connections,
        } = args;
        let mut read = Reader(Vec::new());
        let pools = match yaml.map(|text| Pools::parse(&text)) {
            Ok(Ok(pools)) => pools,
            Ok(Err(error)) => {
                let place = config.display();
                read.0.extend(error.0.iter().map(|one| format!("{place}: {}: {}", one.path, one.problem)));
                Pools::default()
            }
            Err(error) => {
                read.0.push(format!("--config {}: {error}; wanted a file with pools", config.display()));
                Pools::default()
            }
        };
        let ca = read.duration("--ca-lifetime", &ca_lifetime);
        let leaf = read.duration("--leaf-lifetime", &leaf_lifetime);
        let settle = read.duration("--settle", &settle);
        if leaf > ca && ca > Duration::ZERO {
            read.0.push(format!(
                "--leaf-lifetime {leaf_lifetime}: wanted no more than --ca-lifetime, {ca_lifetime}"
            ));
        }
        let names = excluded_namespaces.split(',').map(str::trim).chain([namespace.as_str()]);
        let excluded = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let search = search.parse().unwrap_or_else(|_| {
            read.0.push(format!("--search {search}: wanted true or false"));
            false
        });
        let certificate = match tls_dir {
            Some(dir) => {
                for (flag, text) in [
                    ("--service", &service),
                    ("--secret", &secret),
                    ("--deployment", &deployment),
                    ("--webhook-configuration", &webhook_configuration),
                ] {
                    if !text.is_empty() {
                        read.0.push(format!("{flag} {text}: not beside --tls-dir {}", dir.display()));
                    }
                }
                Source::Given(dir)
            }
            None => Source::Own(Own {
                namespace: read.name("--namespace (POD_NAMESPACE)", namespace),
                service: read.name("--service", service),
                secret: read.name("--secret", secret),
                deployment: read.name("--deployment", deployment),
                webhook_configuration: read.name("--webhook-configuration", webhook_configuration),
                ca,
                leaf,
                settle,
            }),
        };
        let max_connections = max_connections.parse().ok().filter(|count| *count > 0).unwrap_or_else(|| {
            read.0.push(format!("--max-connections {max_connections}: wanted a number from 1"));
            0
        });
        let log = log.parse().unwrap_or_else(|error| {
            read.0
                .push(format!("--log {log}: {error}; wanted levels, such as info,firstlight_webhook=debug"));
            tracing_subscriber::filter::Targets::new()
        });
        let config = Self {
            pools_file: config,
            pools,
            listen: read.address("--listen", &listen),
            metrics_listen: read.address("--metrics-listen", &metrics_listen),
            log,
            certificate,
            search,
            excluded,
            reload: read.duration("--reload", &reload).max(Duration::from_millis(100)),
            linger: read.duration("--linger", &linger),
            drain: read.duration("--drain", &drain),
            max_connections,
        };
        if read.0.is_empty() { Ok(config) } else { Err(ConfigError(read.0)) }
    }
}

/// A whole number and a unit, as in Go and in cert-manager; days beside them.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A thousand years: sums with the time of day stay far from the end of the calendar.
    let longest = 1000 * 365 * 86_400_000;
    let all = number.parse::<u64>().ok()?.checked_mul(milliseconds).filter(|all| *all <= longest)?;
    Some(Duration::from_millis(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: [&str; 5] =
        ["--namespace=n", "--service=s", "--secret=t", "--deployment=d", "--webhook-configuration=w"];

    fn args(words: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once("firstlight-webhook").chain(words.iter().copied())).unwrap()
    }

    #[test]
    fn all_mistakes_in_flags_and_pools_come_at_once() {
        let args = args(&[
            "--namespace=",
            "--service=",
            "--secret=",
            "--deployment=",
            "--webhook-configuration=",
            "--listen=here",
            "--metrics-listen=8080",
            "--ca-lifetime=soon",
            "--leaf-lifetime=1.5h",
            "--settle=5",
            "--reload=s",
            "--linger=1y",
            "--drain=-1s",
            "--max-connections=0",
            "--search=maybe",
            "--log=a=b=c",
        ]);
        let ConfigError(mistakes) =
            Config::check(args, Ok("pools: [{name: A, kind: magic}]".into())).unwrap_err();
        for start in [
            "/etc/firstlight/pools.yaml: pools[0].name: ",
            "/etc/firstlight/pools.yaml: pools[0].kind: ",
            "--namespace (POD_NAMESPACE) is missing",
            "--service is missing",
            "--secret is missing",
            "--deployment is missing",
            "--webhook-configuration is missing",
            "--listen here: ",
            "--metrics-listen 8080: ",
            "--ca-lifetime soon: ",
            "--leaf-lifetime 1.5h: ",
            "--settle 5: ",
            "--reload s: ",
            "--linger 1y: ",
            "--drain -1s: ",
            "--max-connections 0: ",
            "--search maybe: ",
            "--log a=b=c: ",
        ] {
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(start)),
                "no {start:?} in {mistakes:#?}"
            );
        }
    }

    #[test]
    fn a_given_certificate_needs_no_object_of_ours_and_excludes_them() {
        let config =
            Config::check(args(&["--tls-dir=/tls", "--namespace=n"]), Ok("pools: []".into())).unwrap();
        assert_eq!(config.certificate, Source::Given("/tls".into()));
        let both: Vec<&str> = OWN.into_iter().chain(["--tls-dir=/tls"]).collect();
        let ConfigError(mistakes) = Config::check(args(&both), Ok("pools: []".into())).unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
    }

    #[test]
    fn our_own_namespace_is_excluded_beside_those_that_are_named() {
        let words: Vec<&str> = OWN.into_iter().chain(["--excluded-namespaces=kube-system, other,"]).collect();
        let config = Config::check(args(&words), Ok("pools: []".into())).unwrap();
        assert_eq!(
            config.excluded.iter().map(String::as_str).collect::<Vec<_>>(),
            ["kube-system", "n", "other"]
        );
        assert!(config.search);
    }

    #[test]
    fn a_certificate_may_not_outlive_its_authority() {
        let words: Vec<&str> = OWN.into_iter().chain(["--ca-lifetime=1h", "--leaf-lifetime=2h"]).collect();
        let ConfigError(mistakes) = Config::check(args(&words), Ok("pools: []".into())).unwrap_err();
        assert_eq!(mistakes, ["--leaf-lifetime 2h: wanted no more than --ca-lifetime, 1h"]);
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("2160h", 7_776_000), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "5", "s", "-1s", "1.5h", "1h30m", "99999999999999999999s", "9999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_flag_has_an_environment_twin() {
        use clap::CommandFactory as _;
        for argument in Args::command().get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_env().is_some(), "--{} has none", argument.get_id());
        }
    }

    proptest! {
        #[test]
        fn no_text_in_any_flag_panics(listen in ".{0,20}", time in ".{0,20}", log in ".{0,20}", yaml in ".{0,80}") {
            let mut args = args(&OWN);
            (args.listen, args.ca_lifetime, args.log) = (listen, time, log);
            let _ = Config::check(args, Ok(yaml));
        }
    }
}
