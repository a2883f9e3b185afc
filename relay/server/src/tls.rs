//! TLS for HTTP and signalling, on `ring`.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("cannot use {path}: {reason}; it must be a PEM file that this user may read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// Certificate and key do not fit.
    #[error("certificate and key cannot be used together: {0}")]
    Config(#[from] rustls::Error),
}

/// What to accept connections with; `None` for plain HTTP. `names` are the addresses a self-signed certificate is for.
pub(crate) fn acceptor(tls: &Tls, names: &[IpAddr]) -> Result<Option<TlsAcceptor>, TlsError> {
    let (chain, key) = match tls {
        Tls::Off => return Ok(None),
        Tls::SelfSigned => self_signed(names)?,
        Tls::Files { certificate, key } => from_files(certificate, key)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_signed(names: &[IpAddr]) -> Result<Identity, TlsError> {
    let names = std::iter::once("localhost".to_owned()).chain(names.iter().map(IpAddr::to_string));
    let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn from_files(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let unusable = |path: &Path, error: &dyn ToString| TlsError::File { path: path.to_owned(), reason: error.to_string() };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| unusable(certificate, &error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| unusable(certificate, &error))?;
    if chain.is_empty() {
        return Err(unusable(certificate, &io::Error::other("no certificate in it")));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_certificate_where_there_is_none() {
        let names = [IpAddr::from([192, 0, 2, 7])];
        assert!(acceptor(&Tls::SelfSigned, &names).expect("made").is_some());
        assert!(acceptor(&Tls::Off, &names).expect("none needed").is_none());
    }

    #[test]
    fn says_which_file_is_missing() {
        let files = Tls::Files { certificate: "nowhere/chain.pem".into(), key: "nowhere/key.pem".into() };
        let error = acceptor(&files, &[]).err().expect("missing").to_string();
        assert!(error.starts_with("cannot use nowhere/chain.pem"), "{error}");
    }
}
