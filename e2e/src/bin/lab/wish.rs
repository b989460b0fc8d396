//! What the command line asks for: pure.

/// What is said when it makes no sense, and when it asks for help.
pub(crate) const USAGE: &str = "\
usage: lab [--case WORD]... [--jobs N] [--keep | --on-this-host | --list]
  --case WORD     only cases whose name has the word
  --jobs N        so many at once, each in a lab of its own (one for each processor, at most 4)
  --keep          stay up when they are done, and say how to get a shell there
  --on-this-host  no lab: run them straight here, on Firecracker and this host's KVM
  --list          which cases run in the lab, and why the others do not
       lab shell SOCKET     a root shell in a lab that was kept";

/// A lab has 3 GiB of memory, which it may come to use.
const MOST_LABS: usize = 4;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Cases.
    Run(Run),
    /// Their names, if they have one of these words.
    List(Vec<String>),
    /// The usage.
    Help,
}

/// Cases that are to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Their names have one of these words, if there are any.
    pub(crate) words: Vec<String>,
    /// So many at once.
    pub(crate) jobs: usize,
    /// Where.
    pub(crate) place: Place,
}

/// Where cases run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In labs, which are switched off at the end.
    Lab,
    /// The same, but one stays up.
    KeptLab,
    /// On this very host.
    Here,
}

/// Reads it. `processors` is how many this host has.
///
/// # Errors
/// What is wrong with it, in a line.
pub(crate) fn parse(mut words: impl Iterator<Item = String>, processors: usize) -> Result<Wish, String> {
    let mut run = Run { words: Vec::new(), jobs: processors.clamp(1, MOST_LABS), place: Place::Lab };
    let mut list = false;
    let mut modes = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--case" => {
                // A forgotten word would take the next option for one.
                let case = words.next().filter(|case| !case.starts_with('-'));
                run.words.push(case.ok_or("--case needs a word of a case's name: see --list")?);
            }
            "--jobs" => {
                let jobs = words.next().and_then(|jobs| jobs.parse().ok()).filter(|jobs| *jobs > 0);
                run.jobs = jobs.ok_or("--jobs needs a number, at least 1")?;
            }
            "--keep" => (run.place, modes) = (Place::KeptLab, [modes, vec![word]].concat()),
            "--on-this-host" => (run.place, modes) = (Place::Here, [modes, vec![word]].concat()),
            "--list" => (list, modes) = (true, [modes, vec![word]].concat()),
            "--help" | "-h" => return Ok(Wish::Help),
            _ => return Err(format!("{word:?} is not understood")),
        }
    }
    modes.dedup();
    match &modes[..] {
        [] | [_] if list => Ok(Wish::List(run.words)),
        [] | [_] => Ok(Wish::Run(run)),
        [one, other, ..] => Err(format!("{one} and {other} cannot go together")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish, String> {
        parse(line.split_whitespace().map(str::to_owned), 2)
    }

    fn run(words: &[&str], jobs: usize, place: Place) -> Result<Wish, String> {
        Ok(Wish::Run(Run { words: words.iter().map(|word| (*word).to_owned()).collect(), jobs, place }))
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(parsed(""), run(&[], 2, Place::Lab));
        assert_eq!(parsed("--case life --jobs 3 --case exec --keep"), run(&["life", "exec"], 3, Place::KeptLab));
        assert_eq!(parsed("--on-this-host --jobs 9"), run(&[], 9, Place::Here));
        assert_eq!(parsed("--list --case life"), Ok(Wish::List(vec!["life".into()])));
        assert_eq!(parsed("--jobs 2 --help"), Ok(Wish::Help));
        assert_eq!(parse(std::iter::empty(), 64), run(&[], MOST_LABS, Place::Lab), "memory is scarcer than processors");
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (line, says) in [
            ("--jobs", "--jobs"),
            ("--jobs 0", "at least 1"),
            ("--jobs many", "--jobs"),
            ("--case", "--case"),
            ("--case --keep", "--case"),
            ("--cases life", "\"--cases\""),
            ("life", "\"life\""),
            ("--keep --on-this-host", "--keep and --on-this-host"),
            ("--on-this-host --list", "cannot go together"),
        ] {
            let said = parsed(line).unwrap_err();
            assert!(said.contains(says) && !said.contains('\n'), "{line}: {said}");
        }
    }
}
