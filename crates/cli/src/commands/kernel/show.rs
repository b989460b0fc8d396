//! `kernel show`.

use super::Cx;
use crate::{
    client::Route,
    commands::several,
    error::CliError,
    output::{age, style::Style, table::Facts},
};
use banger_model::{KernelRef, api::image::KernelView};
use clap::Args;

/// Show all there is to know about kernels
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    kernels: Vec<KernelRef>,
}

pub(super) async fn run(cx: &Cx<'_>, args: ShowArgs) -> Result<u8, CliError> {
    let mut first = true;
    let work =
        async |kernel: &KernelRef| Ok(cx.client.get::<KernelView>(&Route::new(["kernels", kernel.as_str()])).await?);
    let tell = |_: &KernelRef, kernel: KernelView| {
        if cx.ui.json {
            return Ok(cx.ui.print_json(&kernel)?);
        }
        let gap = if std::mem::take(&mut first) { "" } else { "\n" };
        Ok(cx.ui.print(&format!("{gap}{}", render(&kernel, age::now_ms(), cx.ui.out)))?)
    };
    several::each(cx, &args.kernels, work, tell).await
}

fn render(kernel: &KernelView, now_ms: u64, style: Style) -> String {
    let mut facts = Facts::default();
    facts.add("name", &kernel.name);
    let Some(digest) = kernel.digest else {
        facts.add("status", "in the catalog, not here yet");
        return facts.render(style);
    };
    facts.add("digest", digest);
    facts.add("release", &kernel.release);
    facts.add("origin", &kernel.origin);
    facts.add("size", kernel.size);
    facts.add("created", age::ago(kernel.created_ms, now_ms));
    facts.add("used by", kernel.used_by.iter().map(|vm| vm.as_str()).collect::<Vec<_>>().join(", "));
    facts.render(style)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use banger_model::{ByteSize, Digest};

    pub(in crate::commands::kernel) fn sample() -> KernelView {
        KernelView {
            name: "mine".parse().unwrap(),
            digest: Some(Digest::from_bytes([2; 32])),
            release: "6.1.0-28-cloud-amd64".into(),
            origin: "linux-image-6.1.0-28-cloud-amd64 6.1.119-1".into(),
            size: ByteSize::mib(90),
            created_ms: 1_700_000_000_000,
            used_by: vec!["box".parse().unwrap(), "other".parse().unwrap()],
        }
    }

    #[test]
    fn a_kernel() {
        insta::assert_snapshot!(render(&sample(), 1_700_000_200_000, Style::PLAIN));
    }
}
