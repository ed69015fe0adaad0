#!/bin/bash
# Sets up a real Slurm of one node on this machine, and runs tests/slurm/checks.py on it. Its two GPUs
# are two files that any machine has: what Slurm counts and deals out, and nobody computes on.
#
#     bash tests/slurm/run.sh              # as root, on Debian: installs slurm-wlm if it is missing
#
# Takes 2 to 5 minutes. Everything but the packages and munge's key lies in a temporary folder, and
# all daemons end with the script. The default tests do not run this: they hold what needs no
# Slurm, tests/unit/test_search_slurm.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v slurmctld munged >/dev/null; then
    apt-get update -q && apt-get install -y -q slurm-wlm munge
fi
home=$(mktemp -d /tmp/flopwise-slurm-XXXXXX)
chmod 755 "$home"
stop() {
    scancel --user "$(id -un)" 2>/dev/null && sleep 3 || true  # what still runs would outlive its node
    for each in slurmd slurmctld munged; do
        [ -s "$home/$each.pid" ] && kill "$(cat "$home/$each.pid")" 2>/dev/null || true
    done
    sleep 1
    rm -rf "$home"
}
trap stop EXIT

[ -s /etc/munge/munge.key ] || { mungekey --create; chown munge: /etc/munge/munge.key; }
mkdir -p "$home/munge" "$home/state" "$home/spool"
chown munge: "$home/munge"
setpriv --reuid munge --regid munge --clear-groups munged --socket "$home/munge/socket" \
    --pid-file "$home/munge/pid" --log-file "$home/munge/log" --seed-file "$home/munge/seed"
ln -s munge/pid "$home/munged.pid"

host=$(hostname -s)
cat >"$home/slurm.conf" <<CONF
ClusterName=flopwise
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge/socket
CredType=cred/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
GresTypes=gpu
KillWait=10
MinJobAge=30
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc) Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
cat >"$home/gres.conf" <<CONF
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
CONF
export SLURM_CONF="$home/slurm.conf"
slurmctld
slurmd
for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
    sleep 1
done
sinfo --noheader --format='Slurm: node %n is %t, partition %P' ||
    { tail -20 "$home"/*.log; exit 1; }
"${PYTHON:-python3}" -m pytest tests/slurm/checks.py --basetemp="$home/tests" -p no:cacheprovider \
    -p no:randomly -v "$@"
