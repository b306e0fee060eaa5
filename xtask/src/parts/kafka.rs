//! Kafka, from Maven Central: the broker's jar and all that it needs, run by the machine's Java.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{folder, lock};
use crate::step::{note, step};
use crate::workspace::output_of;

const VERSION: &str = "4.1.2";

const POM: &str = "\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>parts</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>VERSION</version>
    </dependency>
    <dependency>
      <!-- Without it there is no log. -->
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
";

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder of Kafka's jars, which are fetched when they are not there yet.
pub(super) fn get() -> Result<PathBuf> {
    let _lock = lock()?;
    if let Some(jars) = find() {
        return Ok(jars);
    }
    let folder = folder("kafka");
    step(&format!("getting Kafka {VERSION}"), || {
        // Without its marker a folder is half made.
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        install(&folder)?;
        fs::write(marker(&folder), "")?;
        let jars = jars(&folder);
        note(&jars.display().to_string());
        Ok(jars)
    })
}

/// The folder of the jars, if they and a Java to run them are there.
pub(super) fn find() -> Option<PathBuf> {
    let folder = folder("kafka");
    (marker(&folder).is_file() && java_version().is_ok_and(|version| version >= 17))
        .then(|| jars(&folder))
}

fn jars(folder: &Path) -> PathBuf {
    folder.join("jars")
}

/// Written last: says that the folder is whole, and of which version.
fn marker(folder: &Path) -> PathBuf {
    folder.join(format!("complete-{VERSION}"))
}

fn install(folder: &Path) -> Result<()> {
    const JAVA: &str = "install Java 17 or later (Debian: openjdk-17-jre-headless)";
    match java_version() {
        Ok(17..) => {}
        Ok(old) => bail!("java is version {old}, too old for Kafka {VERSION}: {JAVA}"),
        Err(error) => return Err(error.context(format!("java is missing: {JAVA}"))),
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("pom.xml"), POM.replace("VERSION", VERSION))?;
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", COPY, "-DoutputDirectory=jars"]);
    maven.arg("--file").arg(folder.join("pom.xml"));
    output_of(&mut maven).map(drop).context(
        "Maven did not fetch Kafka: install Maven (Debian: maven) and a way to Maven Central",
    )
}

/// The major version of the `java` on the `PATH`.
fn java_version() -> Result<u32> {
    let version = output_of(Command::new("java").arg("--version"))?;
    let number = |word: &str| word.split('.').next()?.parse().ok();
    let mut words = version
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace();
    words
        .find_map(number)
        .with_context(|| format!("java says no version: {version}"))
}
