//! An OCI image layout of one image with one layer, written file by file.
//!
//! The same input gives the same digest on every machine: entries are sorted, times are the epoch,
//! owners are root, and gzip's header holds no time and no name.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One file of an image.
pub(crate) struct ImageFile<'a> {
    /// Where it stands in the image, without a leading slash.
    pub(crate) path: &'a str,
    /// What it holds.
    pub(crate) bytes: &'a [u8],
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// What an image is besides its files.
pub(crate) struct ImageKind {
    /// The reference name in `index.json`, such as `0.1.0`.
    pub(crate) tag: String,
    /// The platform's operating system, as in Go's `GOOS`.
    pub(crate) os: &'static str,
    /// The platform's architecture, as in Go's `GOARCH`.
    pub(crate) architecture: &'static str,
    /// What the image runs; empty for a module that is only read.
    pub(crate) entrypoint: Vec<&'static str>,
    /// The ports that it listens on.
    pub(crate) ports: Vec<u16>,
    /// `org.opencontainers.image.*` and other annotations of the manifest.
    pub(crate) annotations: Vec<(&'static str, String)>,
}

/// Writes an OCI image layout with one image of one layer to `directory`, in place of whatever
/// stood there, and returns the manifest's digest (`sha256:...`).
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write_layout(
    directory: &Path,
    kind: &ImageKind,
    files: &[ImageFile<'_>],
) -> Result<String> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;

    let tar = layer_tar(files)?;
    let mut gzip = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tar)?;
    let layer = put_blob(&blobs, LAYER, &gzip.finish()?)?;
    let config = put_json(&blobs, CONFIG, &config(kind, &digest(&tar)))?;
    let annotations: serde_json::Map<String, Value> = kind
        .annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": annotations,
    });
    let mut manifest = put_json(&blobs, MANIFEST, &manifest)?;
    manifest["platform"] = json!({ "os": kind.os, "architecture": kind.architecture });
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": kind.tag });
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    write_json(
        &directory.join("index.json"),
        &json!({ "schemaVersion": 2, "manifests": [manifest] }),
    )?;
    write_json(
        &directory.join("oci-layout"),
        &json!({ "imageLayoutVersion": "1.0.0" }),
    )?;
    Ok(digest)
}

fn layer_tar(files: &[ImageFile<'_>]) -> Result<Vec<u8>> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|file| file.path);
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_path(file.path)?;
        header.set_size(file.bytes.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(0);
        header.set_cksum();
        tar.append(&header, file.bytes)?;
    }
    Ok(tar.into_inner()?)
}

fn config(kind: &ImageKind, diff_id: &str) -> Value {
    let ports: serde_json::Map<String, Value> = kind
        .ports
        .iter()
        .map(|port| (format!("{port}/tcp"), json!({})))
        .collect();
    let mut config = json!({});
    if !kind.entrypoint.is_empty() {
        // Numeric, so that `runAsNonRoot` can be checked without an /etc/passwd.
        config =
            json!({ "Entrypoint": kind.entrypoint, "User": "65532:65532", "ExposedPorts": ports });
    }
    json!({
        "created": "1970-01-01T00:00:00Z",
        "os": kind.os,
        "architecture": kind.architecture,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
}

fn put_json(blobs: &Path, media_type: &str, value: &Value) -> Result<Value> {
    put_blob(blobs, media_type, &serde_json::to_vec(value)?)
}

/// Stores a blob under its digest and returns its descriptor.
fn put_blob(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    let path = blobs.join(digest.trim_start_matches("sha256:"));
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_vec(value)?).with_context(|| format!("write {}", path.display()))
}

/// The digest of `bytes` as OCI writes it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn module_layout(directory: &Path) -> String {
        let kind = ImageKind {
            tag: "0.1.0".to_owned(),
            os: "wasip1",
            architecture: "wasm",
            entrypoint: vec![],
            ports: vec![],
            annotations: vec![(
                "org.opencontainers.image.title",
                "spanloom-filter".to_owned(),
            )],
        };
        let file = ImageFile {
            path: "plugin.wasm",
            bytes: b"\0asm\x01\0\0\0",
            mode: 0o644,
        };
        write_layout(directory, &kind, &[file]).unwrap()
    }

    fn read_json(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn blob(directory: &Path, descriptor: &Value) -> Vec<u8> {
        let digest_wanted = descriptor["digest"].as_str().unwrap();
        let bytes = fs::read(
            directory
                .join("blobs")
                .join(digest_wanted.replace(':', "/")),
        )
        .unwrap();
        assert_eq!(digest(&bytes), digest_wanted);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn a_module_image_is_one_gzipped_tar_layer_with_plugin_wasm() {
        let temp = tempfile::tempdir().unwrap();
        module_layout(temp.path());
        let index = read_json(&temp.path().join("index.json"));
        let manifest: Value =
            serde_json::from_slice(&blob(temp.path(), &index["manifests"][0])).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        assert_eq!(manifest["layers"][0]["mediaType"], LAYER);

        let layer = blob(temp.path(), &manifest["layers"][0]);
        let mut tar = Vec::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "eight bytes that this test wrote"
        )]
        flate2::read::GzDecoder::new(layer.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
        let config: Value =
            serde_json::from_slice(&blob(temp.path(), &manifest["config"])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&tar));

        let mut archive = tar::Archive::new(tar.as_slice());
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["plugin.wasm"]);
    }

    #[test]
    fn the_same_input_gives_the_same_digest() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(module_layout(one.path()), module_layout(two.path()));
    }

    #[test]
    fn a_layout_replaces_what_stood_there() {
        let temp = tempfile::tempdir().unwrap();
        let stale = temp.path().join("blobs/sha256/stale");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, "x").unwrap();
        module_layout(temp.path());
        assert!(!stale.exists());
    }
}
