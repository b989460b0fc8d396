//! What is interrupted: the verbs, what each needs, and what it may leave.

/// What there is of a VM or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    /// A VM that is stopped; an image that is here.
    Rest,
    Running,
}

/// Something that a user asks of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Create,
    Start,
    Run,
    RunOnce,
    Stop,
    Kill,
    Restart,
    Delete,
    DeleteRunning,
    Pull,
    Import,
    DeleteImage,
}

/// What a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Vm,
    Image,
}

impl Verb {
    /// Each as often as it is worth: those that need a running VM cost a boot.
    pub(super) const WEIGHTED: [(Self, u64); 12] = [
        (Self::Create, 4),
        (Self::Start, 6),
        (Self::Run, 2),
        (Self::RunOnce, 2),
        (Self::Stop, 2),
        (Self::Kill, 1),
        (Self::Restart, 2),
        (Self::Delete, 3),
        (Self::DeleteRunning, 1),
        (Self::Pull, 4),
        (Self::Import, 2),
        (Self::DeleteImage, 2),
    ];

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Pull | Self::Import | Self::DeleteImage => Kind::Image,
            _ => Kind::Vm,
        }
    }

    /// The state in which it has something to do.
    pub(super) fn needs(self) -> State {
        match self {
            Self::Create | Self::Run | Self::RunOnce | Self::Pull | Self::Import => State::Absent,
            Self::Start | Self::Delete | Self::DeleteImage => State::Rest,
            Self::Stop | Self::Kill | Self::Restart | Self::DeleteRunning => State::Running,
        }
    }

    /// The state that it is to bring about.
    pub(super) fn leaves(self) -> State {
        match self {
            Self::Create | Self::Stop | Self::Kill | Self::Pull | Self::Import => State::Rest,
            Self::Start | Self::Run | Self::Restart => State::Running,
            Self::RunOnce | Self::Delete | Self::DeleteRunning | Self::DeleteImage => State::Absent,
        }
    }

    /// What a client may find after it was told that the verb succeeded, or was not told anything: that is the state before
    /// or after. In between there is only the rest of a VM, at which an interrupted restart and the two halves of a run stop.
    pub(super) fn allows(self, succeeded: bool) -> Vec<State> {
        let mut allowed = vec![self.leaves()];
        if !succeeded {
            allowed.push(self.needs());
            if matches!(self, Self::Run | Self::Restart) {
                allowed.push(State::Rest);
            }
        }
        allowed
    }

    /// The words of the command line, but for what it is about.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Create => "vm create --name",
            Self::Start => "vm start",
            Self::Run => "vm run --name",
            Self::RunOnce => "vm run --rm --name",
            Self::Stop => "vm stop",
            Self::Kill => "vm kill",
            Self::Restart => "vm restart",
            Self::Delete => "vm delete",
            Self::DeleteRunning => "vm delete --force",
            Self::Pull => "image pull",
            Self::Import => "image import",
            Self::DeleteImage => "image delete",
        }
    }
}
