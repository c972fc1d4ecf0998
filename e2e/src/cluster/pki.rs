//! The cluster's certificates: one authority, one certificate per identity, made by `openssl`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{NAME, NODE_IP};
use crate::command::run;

/// Identities with a client certificate: file name and subject.
pub(super) const CLIENTS: [(&str, &str); 6] = [
    ("admin", "/O=system:masters/CN=firstlight-admin"),
    ("kube-controller-manager", "/CN=system:kube-controller-manager"),
    ("kube-scheduler", "/CN=system:kube-scheduler"),
    ("kube-proxy", "/CN=system:kube-proxy"),
    ("kubelet", "/O=system:nodes/CN=system:node:firstlight"),
    ("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
];

/// Writes every certificate and key below `folder`, once.
pub(super) fn write(folder: &Path) -> Result<()> {
    if folder.join("complete").exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    key(&at("ca.key"))?;
    run(
        "openssl",
        [
            "req",
            "-x509",
            "-new",
            "-key",
            &at("ca.key"),
            "-subj",
            "/CN=firstlight-cluster",
            "-days",
            "365",
            "-out",
            &at("ca.crt"),
        ],
    )?;
    let apiserver = format!(
        "subjectAltName=IP:127.0.0.1,IP:10.96.0.1,IP:{NODE_IP},DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
    );
    sign(folder, "apiserver", "/CN=kube-apiserver", &format!("{apiserver}\nextendedKeyUsage=serverAuth"))?;
    let server = format!("subjectAltName=IP:{NODE_IP},DNS:{NAME}\nextendedKeyUsage=serverAuth");
    sign(folder, "kubelet-server", "/CN=system:node:firstlight", &server)?;
    for (name, subject) in CLIENTS {
        sign(folder, name, subject, "extendedKeyUsage=clientAuth")?;
    }
    key(&at("service-account.key"))?;
    run("openssl", ["ec", "-in", &at("service-account.key"), "-pubout", "-out", &at("service-account.pub")])?;
    fs::write(folder.join("complete"), "").context("cannot finish the certificates")
}

fn key(path: &str) -> Result<()> {
    run("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path]).map(drop)
}

fn sign(folder: &Path, name: &str, subject: &str, extensions: &str) -> Result<()> {
    let at = |suffix: &str| folder.join(format!("{name}.{suffix}")).to_string_lossy().into_owned();
    let ca = |suffix: &str| folder.join(format!("ca.{suffix}")).to_string_lossy().into_owned();
    key(&at("key"))?;
    run("openssl", ["req", "-new", "-key", &at("key"), "-subj", subject, "-out", &at("csr")])?;
    fs::write(at("ext"), extensions)?;
    run(
        "openssl",
        [
            "x509",
            "-req",
            "-in",
            &at("csr"),
            "-CA",
            &ca("crt"),
            "-CAkey",
            &ca("key"),
            "-CAcreateserial",
            "-days",
            "365",
            "-extfile",
            &at("ext"),
            "-out",
            &at("crt"),
        ],
    )
    .map(drop)
}
