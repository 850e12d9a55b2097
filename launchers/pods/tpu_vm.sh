#!/bin/bash
# A run on all hosts of a Cloud TPU slice: the same command on each worker.
#
#   launchers/pods/tpu_vm.sh NAME ZONE --workdir=/runs/alfworld-7b --set mesh.fsdp=16
#
# NAME is the slice, made with `gcloud compute tpus tpu-vm create`, on whose hosts skillrl[tpu] is
# installed. What follows goes to `skillrl train`; --workdir must be on a disk that all hosts share
# (Filestore, a mounted bucket). The hosts find each other by the metadata of the slice.
set -euo pipefail

name=$1 zone=$2
shift 2
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="skillrl train --nomock --config=alfworld_qwen2.5_7b --distributed=on ${*@Q}"
