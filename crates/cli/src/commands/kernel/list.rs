//! `kernel list`.

use super::Cx;
use crate::{
    client::Route,
    commands::image::used_by,
    error::CliError,
    output::{
        age,
        style::Style,
        table::{Align, Table},
    },
};
use banger_model::api::image::{KernelList, KernelView};
use clap::Args;

/// List the kernels that are here or in the catalog
///
/// With --quiet, only their names are printed, one a line.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

pub(super) async fn run(cx: &Cx<'_>) -> Result<(), CliError> {
    let list: KernelList = cx.client.get(&Route::new(["kernels"])).await?;
    let people = || cx.ui.print(&render(&list.kernels, age::now_ms(), cx.ui.out));
    Ok(cx.ui.print_list(&list, list.kernels.iter().map(|kernel| &kernel.name), people)?)
}

fn render(kernels: &[KernelView], now_ms: u64, style: Style) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("RELEASE", Align::Left),
        ("SIZE", Align::Right),
        ("CREATED", Align::Left),
        ("USED BY", Align::Left),
    ]);
    for kernel in kernels {
        let name = kernel.name.to_string();
        table.row(match kernel.digest {
            Some(_) => [
                name,
                kernel.release.clone(),
                kernel.size.to_string(),
                age::ago(kernel.created_ms, now_ms),
                used_by(&kernel.used_by),
            ],
            None => [name, "not here yet".into(), String::new(), String::new(), String::new()],
        });
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::kernel::show::tests::sample;
    use banger_model::ByteSize;

    #[test]
    fn what_is_here_and_what_can_be_had() {
        let missing = KernelView {
            name: "debian".parse().unwrap(),
            digest: None,
            release: String::new(),
            origin: String::new(),
            size: ByteSize(0),
            created_ms: 0,
            used_by: Vec::new(),
        };
        insta::assert_snapshot!(render(&[missing, sample()], 1_700_000_200_000, Style::PLAIN));
    }
}
