//! What a command is, from the image's configuration and the request, as container engines put them together. Pure.

use crate::api::error::Failure;
use banger_model::{
    api::{exec::ExecRequest, image::ImageConfig},
    wire::guest::Exec,
};

/// Something of a command that no process can have.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0:?} is not NAME=VALUE")]
    Variable(String),
    #[error("{what} has a zero byte in it")]
    Zero { what: &'static str },
    #[error("the working folder {0:?} is not absolute")]
    Workdir(String),
}

/// The command that the guest is asked to run.
pub(super) fn command(image: &ImageConfig, request: ExecRequest) -> Result<Exec, Failure> {
    check(&request).map_err(|unusable| Failure::bad("command", unusable))?;
    let ExecRequest { argv, env, workdir, user, tty, detach, no_stdin, stdin: _ } = request;
    Ok(Exec {
        argv,
        env: merge(&image.env, &env),
        workdir: workdir.unwrap_or_else(|| image.workdir.clone()),
        user: user.unwrap_or_else(|| image.user.clone()),
        tty,
        detach,
        no_stdin,
    })
}

fn check(request: &ExecRequest) -> Result<(), Unusable> {
    let with_zero = |texts: &[String]| texts.iter().any(|text| text.contains('\0'));
    if with_zero(&request.argv) {
        return Err(Unusable::Zero { what: "an argument" });
    }
    if with_zero(&request.env) {
        return Err(Unusable::Zero { what: "an environment variable" });
    }
    if let Some(variable) = request.env.iter().find(|variable| name(variable).is_none_or(str::is_empty)) {
        return Err(Unusable::Variable(variable.clone()));
    }
    match &request.workdir {
        Some(folder) if folder.contains('\0') => Err(Unusable::Zero { what: "the working folder" }),
        Some(folder) if !folder.starts_with('/') => Err(Unusable::Workdir(folder.clone())),
        _ => Ok(()),
    }
}

/// The image's variables in their places, each with the request's value if it has one, then the request's others. Of a
/// name that comes twice the last value counts.
fn merge(image: &[String], request: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for variable in image.iter().chain(request) {
        // An image may hold anything; what is no variable is of no use to a process.
        let Some(name) = name(variable) else { continue };
        match merged.iter_mut().find(|known| self::name(known) == Some(name)) {
            Some(known) => known.clone_from(variable),
            None => merged.push(variable.clone()),
        }
    }
    merged
}

fn name(variable: &str) -> Option<&str> {
    variable.split_once('=').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            env: vec!["PATH=/bin".into(), "A=image".into(), "nonsense".into()],
            workdir: "/srv".into(),
            user: "www-data".into(),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn the_image_decides_what_the_request_leaves_out() {
        let got = command(&image(), ExecRequest { argv: vec!["id".into()], ..ExecRequest::default() }).unwrap();
        assert_eq!(got.env, ["PATH=/bin", "A=image"]);
        assert_eq!((got.workdir.as_str(), got.user.as_str()), ("/srv", "www-data"));
    }

    #[test]
    fn the_request_beats_the_image_and_later_beats_earlier() {
        let env = ["A=1", "B=2", "A=3=4"].map(String::from).to_vec();
        let request =
            ExecRequest { env, workdir: Some("/".into()), user: Some(String::new()), ..ExecRequest::default() };
        let got = command(&image(), request).unwrap();
        assert_eq!(got.env, ["PATH=/bin", "A=3=4", "B=2"]);
        assert_eq!((got.workdir.as_str(), got.user.as_str()), ("/", ""));
    }

    #[test]
    fn what_no_process_can_have_is_refused() {
        let with = |change: fn(&mut ExecRequest)| {
            let mut request = ExecRequest::default();
            change(&mut request);
            command(&image(), request).map_err(|failure| std::error::Error::source(&failure).unwrap().to_string())
        };
        assert!(with(|r| r.env = vec!["A".into()]).unwrap_err().contains("\"A\" is not NAME=VALUE"));
        assert!(with(|r| r.env = vec!["=x".into()]).unwrap_err().contains("NAME=VALUE"));
        assert!(with(|r| r.argv = vec!["a\0b".into()]).unwrap_err().contains("an argument"));
        assert!(with(|r| r.workdir = Some("srv".into())).unwrap_err().contains("not absolute"));
    }
}
