//! Keeps a certificate of our own: in a Secret that all replicas share, under an authority in the caBundle of our
//! webhook configuration.
//!
//! No replica leads. Each looks at the Secret and makes what is due; of two that do so at once the API server
//! lets one through (`resourceVersion`), and the other takes what it finds then.

use crate::args::Own;
use crate::authority::{Reason, Renewal, Shared, Terms, renew};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::rollout::{Rollout, Step, bundle};
use crate::tls::{Pair, Serving};
use anyhow::{Context as _, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Keys of the Secret. The first two are those of every TLS Secret.
mod key {
    pub(super) const LEAF: &str = "tls.crt";
    pub(super) const LEAF_KEY: &str = "tls.key";
    pub(super) const BUNDLE: &str = "ca.crt";
    pub(super) const BUNDLE_KEY: &str = "ca.key";
}

/// Who writes, in the objects' managedFields.
const MANAGER: &str = "firstlight-webhook";
/// Rounds until two replicas that write at once must have agreed.
const ROUNDS: usize = 5;
/// A look at the Secret and the configuration.
const PATIENCE: Duration = Duration::from_secs(20);
/// After the first failure in a row; doubled up to the usual interval.
const RETRY: Duration = Duration::from_millis(500);

/// Looks after the certificate, again and again.
#[derive(Debug)]
pub struct Keeper {
    secrets: Api<Secret>,
    deployments: Api<Deployment>,
    configurations: Api<MutatingWebhookConfiguration>,
    own: Own,
    terms: Terms,
    every: Duration,
    rollout: Rollout,
    serving: Arc<Serving>,
    readiness: Arc<Readiness>,
    metrics: Metrics,
}

impl Keeper {
    /// Looks every so often, more often where a certificate lives so short that it would be missed.
    pub fn new(
        client: kube::Client,
        own: Own,
        every: Duration,
        serving: Arc<Serving>,
        readiness: Arc<Readiness>,
        metrics: Metrics,
    ) -> Self {
        let terms =
            Terms { dns_name: format!("{}.{}.svc", own.service, own.namespace), ca: own.ca, leaf: own.leaf };
        Self {
            secrets: Api::namespaced(client.clone(), &own.namespace),
            deployments: Api::namespaced(client.clone(), &own.namespace),
            configurations: Api::all(client),
            every: every.min(own.leaf / 12).max(Duration::from_millis(100)),
            rollout: Rollout::new(own.settle),
            own,
            terms,
            serving,
            readiness,
            metrics,
        }
    }

    /// Runs until the process ends; without the API server it tries again for ever.
    pub async fn run(mut self) {
        let mut retry = RETRY;
        loop {
            let looked = tokio::time::timeout(PATIENCE, self.look()).await;
            let pause = match looked.unwrap_or_else(|_| bail_slow()) {
                Ok(pause) => {
                    retry = RETRY;
                    pause
                }
                Err(error) => {
                    self.metrics.certificate_failures.inc();
                    tracing::warn!("certificate: {error:#}; trying again");
                    self.readiness.obstacle(format!("certificate: {error:#}"));
                    let pause = retry.min(self.every);
                    retry = pause * 2;
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once: Secret, configuration, what we serve. Returns when to look again.
    async fn look(&mut self) -> Result<Duration> {
        let (shared, mut fresh) = self.shared().await?;
        let today = SystemTime::now();
        let pair = Pair::parse(&shared.leaf, &shared.leaf_key, today)?;
        if self.serving.current().is_none() {
            self.serve(pair.clone());
        }
        fresh |= self.publish(&shared).await?;
        let now = Instant::now();
        self.rollout.trusted(&shared, fresh, now);
        let served = self.serving.current();
        let mut pause = self.every;
        match self.rollout.step(served.as_deref(), &pair, now, today) {
            Step::Keep => {}
            Step::Serve => self.serve(pair),
            Step::Wait(rest) => pause = pause.min(rest),
        }
        match self.rollout.settles_in(now) {
            Duration::ZERO => self.readiness.reachable(),
            rest => {
                let rest_s = rest.as_secs_f64();
                self.readiness
                    .obstacle(format!("API servers are given {rest_s:.1} s more to read our caBundle"));
                pause = pause.min(rest);
            }
        }
        Ok(pause)
    }

    fn serve(&self, pair: Pair) {
        let until = pair.validity.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.certificate_expiry.set(until.as_secs_f64());
        tracing::info!(expires = until.as_secs(), name = self.terms.dns_name, "new certificate");
        self.serving.swap(pair);
    }

    /// What all replicas share, renewed where it is due; and whether that was only now.
    async fn shared(&self) -> Result<(Shared, bool)> {
        let name = &self.own.secret;
        let place = || format!("secret {}/{name}", self.own.namespace);
        for round in 0..ROUNDS {
            let secret = self
                .secrets
                .get_opt(name)
                .await
                .map_err(said)
                .with_context(|| format!("cannot read {}", place()))?;
            let found = secret.as_ref().and_then(of_secret);
            let (shared, reason) = match renew(found.as_ref(), &self.terms, SystemTime::now())? {
                Renewal::Replace(shared, reason) => (shared, reason),
                Renewal::Keep => match found {
                    Some(shared) => return Ok((shared, round > 0)),
                    None => bail!("{} is empty", place()),
                },
            };
            if let Reason::Bad(problem) = &reason {
                self.metrics.certificate_failures.inc();
                tracing::error!("{} cannot be used: {problem}; replacing it", place());
            }
            match self.write(secret, &shared).await {
                Ok(()) => {
                    tracing::info!(?reason, "renewed {}", place());
                    return Ok((shared, true));
                }
                // Another replica was faster, or somebody has deleted it: look again.
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(error) => return Err(said(error)).with_context(|| format!("cannot write {}", place())),
            }
        }
        bail!("{} was changed by somebody else {ROUNDS} times in a row", place())
    }

    async fn write(&self, secret: Option<Secret>, shared: &Shared) -> Result<(), kube::Error> {
        let owner = self.deployments.get_metadata(&self.own.deployment).await?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let exists = secret.is_some();
        let mut secret = secret.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(self.own.secret.clone()), ..ObjectMeta::default() },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        });
        secret.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: self.own.deployment.clone(),
            uid: owner.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        }]);
        let data = secret.data.get_or_insert_with(BTreeMap::new);
        for (key, text) in [
            (key::LEAF, &shared.leaf),
            (key::LEAF_KEY, &shared.leaf_key),
            (key::BUNDLE, &shared.bundle),
            (key::BUNDLE_KEY, &shared.bundle_key),
        ] {
            data.insert(key.to_owned(), ByteString(text.clone().into_bytes()));
        }
        if exists {
            // The object still carries the resourceVersion that was read.
            self.secrets.replace(&self.own.secret, &parameters, &secret).await?;
        } else {
            self.secrets.create(&parameters, &secret).await?;
        }
        Ok(())
    }

    /// Sees to it that every caBundle has our authorities; whether one had to be written.
    async fn publish(&self, shared: &Shared) -> Result<bool> {
        let name = &self.own.webhook_configuration;
        let place = || format!("mutatingwebhookconfiguration {name}");
        let configuration = self
            .configurations
            .get(name)
            .await
            .map_err(said)
            .with_context(|| format!("cannot read {}", place()))?;
        let today = SystemTime::now();
        let changes: Vec<_> = configuration
            .webhooks
            .unwrap_or_default()
            .into_iter()
            .filter_map(|webhook| {
                let current = webhook.client_config.ca_bundle.map_or_else(Vec::new, |bundle| bundle.0);
                let current = String::from_utf8(current).unwrap_or_default();
                let wanted = bundle(shared, &current, today);
                (wanted != current).then(|| {
                    let wanted = ByteString(wanted.into_bytes());
                    json!({"name": webhook.name, "clientConfig": {"caBundle": wanted}})
                })
            })
            .collect();
        if changes.is_empty() {
            return Ok(false);
        }
        // The list is merged by name; the version makes the API server refuse what was made from an older one.
        let patch = json!({
            "metadata": {"resourceVersion": configuration.metadata.resource_version},
            "webhooks": changes,
        });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.configurations
            .patch_metadata(name, &parameters, &Patch::Strategic(patch))
            .await
            .map_err(said)
            .with_context(|| format!("cannot write the caBundle of {}", place()))?;
        tracing::info!("wrote the caBundle of {}", place());
        Ok(true)
    }
}

/// What the API server said; kube's own text repeats it as a structure.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{} ({})", status.message, status.code),
        other => other.into(),
    }
}

fn bail_slow<T>() -> Result<T> {
    bail!("the API server did not answer within {} s", PATIENCE.as_secs())
}

fn of_secret(secret: &Secret) -> Option<Shared> {
    let data = secret.data.as_ref()?;
    // What is missing or no text is found to be bad by whoever reads it.
    let text = |key: &str| {
        data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).unwrap_or_default()
    };
    Some(Shared {
        bundle: text(key::BUNDLE),
        bundle_key: text(key::BUNDLE_KEY),
        leaf: text(key::LEAF),
        leaf_key: text(key::LEAF_KEY),
    })
}
