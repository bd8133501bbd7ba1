//! `cronmill operator retire`: nothing of an operator holds objects up any more, before it is taken away.

use clap::Args;

use super::{given, list, pod, refused};
use crate::cli::args::LogArgs;
use crate::cli::exit::Failure;
use crate::cli::output::print_data;
use crate::operator::{Freed, Retirement};
use crate::shutdown;

/// Before the operator is uninstalled: let every TaskQueue be deleted without it.
///
/// A TaskQueue whose deletionPolicy is Drain or Delete is held by a finalizer until the operator has carried that out.
/// Without an operator such an object, and its namespace, would never go. This takes the operator's Lease, so that it
/// holds nothing anew, and takes the finalizer off every TaskQueue. One that is being deleted goes at once. Queues and
/// tasks stay in Redis; what they are called is printed.
///
/// "helm uninstall" does this by itself. Without Helm run it while the operator is still there, for instance in one of
/// its pods; it takes about 15 s. Then take the operator away within 10 minutes: after that it holds TaskQueues as
/// before. It may be repeated, also after it was killed. Once the operator is gone it is enough to run it anywhere.
///
/// The API server is found by KUBECONFIG, or as in every pod.
///
/// Exit codes: 0 done, 2 a flag is wrong or there is no cluster, 3 not done, and the operator goes on as before.
#[derive(Args, Debug)]
pub(super) struct RetireArgs {
    /// A namespace that the operator watches; may be given several times. [default: all namespaces]
    #[arg(
        long = "watch-namespace",
        env = "CRONMILL_WATCH_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    watch_namespaces: Vec<String>,
    /// The namespace of the operator's Lease. [default: that of the pod (POD_NAMESPACE) or kubeconfig]
    #[arg(
        long,
        env = "CRONMILL_LEASE_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "",
        hide_default_value = true
    )]
    lease_namespace: String,
    #[command(flatten)]
    log: LogArgs,
}

impl RetireArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.log.init()?;
        crate::cli::program::once(self.retire())
    }

    async fn retire(self) -> Result<(), Failure> {
        let signals = shutdown::signals();
        let signals = signals.map_err(|error| Failure::failed(error).context("listen for signals"))?;
        let home = given(self.lease_namespace).or_else(|| pod("POD_NAMESPACE"));
        let retirement = Retirement::new(list(self.watch_namespaces), home).await.map_err(refused)?;
        let (mut count, mut unheard) = (0_u64, None);
        let tell = |freed: &Freed| {
            count += 1;
            // What is told is of use to people only: the rest is done all the same.
            if let Err(failure) = print_data(&format!("{}\n", line(freed))) {
                unheard = Some(failure);
            }
        };
        retirement.run(signals.drain(), tell).await.map_err(refused)?;
        unheard.map_or(Ok(()), Err)?;
        print_data(&match count {
            0 => "no TaskQueue is held by the operator\n".to_owned(),
            1 => "1 TaskQueue is no longer held by the operator\n".to_owned(),
            _ => format!("{count} TaskQueues are no longer held by the operator\n"),
        })
    }
}

fn line(freed: &Freed) -> String {
    let what = if freed.is_gone { "goes now" } else { "is free" };
    match freed.queues.is_empty() {
        true => format!("TaskQueue {} {what}; its queues stay in Redis", freed.name),
        false => {
            format!("TaskQueue {} {what}; its queues stay in Redis: {}", freed.name, freed.queues.join(", "))
        }
    }
}
