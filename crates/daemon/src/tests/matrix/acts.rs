//! What users do, as the matrix does it.

use crate::{
    App, api,
    op::OpCx,
    resource::{self, Resource},
    tests::{act, act_as, arrange, begin, create, name},
    verbs,
};
use banger_model::{
    ByteSize,
    api::vm::CreateVm,
    vm::{self, Status, Target, Verb},
};
use std::{fmt, sync::Arc};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A verb on the VM "box", which is at that target.
    Verb(Verb, Target),
    /// Making and starting "box" in one request, whose client goes at the end: with `rm`, the VM goes with it.
    Run { rm: bool },
    /// Deleting whatever is stopped: "box" is, and "other" runs.
    Prune,
}

/// A verb on one VM, as part of an act.
pub(super) type Part = (Verb, Target);

/// Every verb from everywhere it is admitted, and what is made of several verbs.
pub(super) fn all() -> Vec<Act> {
    let admitted = |verb, from| match from {
        Target::Absent => verb == Verb::Create,
        Target::Stopped => vm::admit(verb, Status::Stopped).is_ok(),
        Target::Running => vm::admit(verb, Status::Running).is_ok(),
    };
    let mut acts = Vec::new();
    for verb in Verb::ALL {
        let targets = [Target::Absent, Target::Stopped, Target::Running].into_iter();
        let before = acts.len();
        acts.extend(targets.filter(|from| admitted(verb, *from)).map(|from| Act::Verb(verb, from)));
        assert!(acts.len() > before, "{verb} is admitted nowhere");
    }
    acts.extend([Act::Run { rm: false }, Act::Run { rm: true }, Act::Prune]);
    acts
}

/// Where a verb ends up when all goes well.
pub(super) fn goal(verb: Verb) -> Target {
    match verb {
        Verb::Create | Verb::Stop | Verb::Kill => Target::Stopped,
        Verb::Start | Verb::Restart => Target::Running,
        Verb::Delete => Target::Absent,
    }
}

impl Act {
    /// The verbs that it consists of, each with where it begins.
    pub(super) fn parts(self) -> Vec<Part> {
        match self {
            Self::Verb(verb, from) => vec![(verb, from)],
            Self::Run { rm } => {
                let mut parts = vec![(Verb::Create, Target::Absent), (Verb::Start, Target::Stopped)];
                parts.extend(rm.then_some((Verb::Delete, Target::Running)));
                parts
            }
            Self::Prune => vec![(Verb::Delete, Target::Stopped)],
        }
    }

    /// What it has to build and to remove, in order.
    pub(super) fn plan(self) -> (Vec<Resource>, Vec<Resource>) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (verb, _) in self.parts() {
            if matches!(verb, Verb::Stop | Verb::Kill | Verb::Restart | Verb::Delete) {
                let rest = if verb == Verb::Delete { Target::Absent } else { Target::Stopped };
                down.extend(resource::beyond(rest));
            }
            if matches!(verb, Verb::Create | Verb::Start | Verb::Restart) {
                up.extend(resource::up_to(goal(verb)));
            }
        }
        (up, down)
    }

    /// Whether anything runs at any time of it, so that a host which goes down makes a difference.
    pub(super) fn runs(self) -> bool {
        self == Self::Prune || self.parts().iter().any(|(verb, from)| (*from).max(goal(*verb)) == Target::Running)
    }

    /// Where "box" has to be before.
    pub(super) fn from(self) -> Target {
        self.parts()[0].1
    }

    /// Brings the host to where it begins.
    pub(super) async fn arrange(self, app: &App) {
        arrange(app, self.from()).await;
        if self == Self::Prune {
            let (cx, _events) = begin(app);
            create(app, Some("other"), false, &cx).await.unwrap();
            verbs::start::start(app, &name("other"), &cx).await.unwrap();
        }
        // As it is after a while: a start makes files that all share, once.
        if self.from() == Target::Stopped {
            act(app, Verb::Start).await.unwrap();
            act(app, Verb::Kill).await.unwrap();
        }
    }

    /// Does it. An error is told with its causes.
    pub(super) async fn perform(self, app: &Arc<App>, cx: OpCx) -> Result<(), String> {
        match self {
            Self::Verb(verb, _) => act_as(app, verb, &cx).await.map_err(|error| verbs::chain(&error)),
            Self::Run { rm } => {
                let request = CreateVm {
                    name: Some(name("box")),
                    memory: Some(ByteSize::mib(128)),
                    start: true,
                    rm,
                    ..CreateVm::default()
                };
                let ran = api::create_and_start(Arc::clone(app), request, cx).await;
                if let Some(afterwards) = ran.map_err(|failure| verbs::chain(&failure))?.afterwards {
                    afterwards.await;
                }
                Ok(())
            }
            Self::Prune => {
                let rows = app.db.vms().await.unwrap();
                for row in rows.into_iter().filter(|row| app.status(row) == Status::Stopped) {
                    let deleted = verbs::delete::delete(app, &row.name, Some(row.id), false, &cx).await;
                    deleted.map_err(|error| verbs::chain(&error))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verb(verb @ (Verb::Restart | Verb::Delete), Target::Running) => write!(f, "{verb} of a running VM"),
            Self::Verb(verb, _) => verb.fmt(f),
            Self::Run { rm: false } => f.write_str("run"),
            Self::Run { rm: true } => f.write_str("run --rm"),
            Self::Prune => f.write_str("prune"),
        }
    }
}
