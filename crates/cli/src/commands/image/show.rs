//! `image show`.

use super::Cx;
use crate::{
    args::absolute_image,
    client::Route,
    commands::several,
    error::CliError,
    output::{age, style::Style, table::Facts},
};
use banger_model::{ImageRef, api::image::ImageView};
use clap::Args;

/// Show all there is to know about images
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which
    #[arg(required = true, value_name = "REF")]
    images: Vec<ImageRef>,
}

pub(super) async fn run(cx: &Cx<'_>, args: ShowArgs) -> Result<u8, CliError> {
    let images = args.images.into_iter().map(absolute_image).collect::<Result<Vec<_>, _>>()?;
    let mut first = true;
    let work =
        async |image: &ImageRef| Ok(cx.client.get::<ImageView>(&Route::new(["images", &image.to_string()])).await?);
    let tell = |_: &ImageRef, image: ImageView| {
        if cx.ui.json {
            return Ok(cx.ui.print_json(&image)?);
        }
        let gap = if std::mem::take(&mut first) { "" } else { "\n" };
        Ok(cx.ui.print(&format!("{gap}{}", render(&image, age::now_ms(), cx.ui.out)))?)
    };
    several::each(cx, &images, work, tell).await
}

fn render(image: &ImageView, now_ms: u64, style: Style) -> String {
    let mut facts = Facts::default();
    facts.add("name", &image.name);
    facts.add("digest", image.digest);
    facts.add("size", image.size);
    facts.add("created", age::ago(image.created_ms, now_ms));
    facts.add("init", image.init.as_deref().unwrap_or("none: banger's own is process 1"));
    facts.add("user", &image.config.user);
    facts.add("workdir", &image.config.workdir);
    facts.add("entrypoint", image.config.entrypoint.join(" "));
    facts.add("cmd", image.config.cmd.join(" "));
    for variable in &image.config.env {
        facts.add("env", variable);
    }
    for (name, value) in &image.config.labels {
        facts.add("label", format!("{name}={value}"));
    }
    for warning in &image.warnings {
        facts.add("warning", warning);
    }
    facts.add("used by", image.used_by.iter().map(|vm| vm.as_str()).collect::<Vec<_>>().join(", "));
    facts.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::{ByteSize, Digest, api::image::ImageConfig};

    #[test]
    fn an_image() {
        let image = ImageView {
            name: "debian-bookworm".parse().unwrap(),
            digest: Digest::from_bytes([1; 32]),
            size: ByteSize::mib(420),
            created_ms: 1_700_000_000_000,
            init: Some("/usr/lib/systemd/systemd".into()),
            config: ImageConfig {
                env: vec!["PATH=/usr/bin:/bin".into(), "A=\x1b[2J".into()],
                cmd: vec!["bash".into()],
                ..ImageConfig::default()
            },
            warnings: vec!["no /root in it".into()],
            used_by: vec!["box".parse().unwrap()],
        };
        insta::assert_snapshot!(render(&image, 1_700_000_200_000, Style::PLAIN));
    }
}
