#!/bin/bash
# One run on the GPUs of several nodes, started again by itself until it is done:
#
#     sbatch --nodes 2 Training/cluster/slurm.sh pretrain --recipe recipe.yaml --out /shared/run
#
# The folder of the run and the cache must be seen by all nodes. Three minutes before the time limit
# Slurm sends SIGTERM: the run writes a checkpoint, the job queues itself again and goes on from it.
#SBATCH --job-name=isdmae
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

again() {
    kill -TERM "$run"
    wait "$run"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap again TERM

# Else a restart by torchrun would find the addresses of the processes that have ended (PyTorch 2.13).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" --max-restarts 3 \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first_node:29400" \
    -m isdmae_train "$@" &
run=$!
wait "$run"
