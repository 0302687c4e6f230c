#!/usr/bin/env bash
# A training job on slices of TPUs in GKE: fills launch/gke/jobset.yaml, and
# hands it to kubectl.
#
#   bash launch/gke/jobset.sh --name=NAME --topology=v5e:4x4 --image=IMAGE \
#     [flags] -- COMMAND …
#
# COMMAND runs in each pod, one on each host: videoar-jax train --config=…
#
# Flags, with their defaults:
#   --topology=          v5e:4x4, v6e:16x16, v5p:4x4x4, tpu7x:2x2x2; as in the
#                        node pool
#   --slices=1           node pools, of a multislice
#   --chips_per_host=4   1 or 8 for the machines of v5e and v6e with so many
#   --nospot             not on spot nodes
#   --secrets=           variables, each from a Secret: WANDB_API_KEY=wandb/key
#                        is the key `key` of the Secret `wandb`
#   --env=               variables that are no secrets: A=1,B=2
#   --max_restarts=100
#   --permanent=2        statuses of the command after which it isn't restarted
#   --namespace=default
#   --settings=FILE      lines of flags without dashes
#   --dry_run            prints the manifest, and does nothing

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/flags.sh
source "$HERE/../flags.sh"

flag_name='' flag_topology='' flag_image='' flag_slices=1 flag_chips_per_host=4
flag_spot=true flag_secrets='' flag_env='' flag_max_restarts=100
flag_permanent=2 flag_namespace=default flag_dry_run=false
VARIABLE='[A-Za-z_][A-Za-z0-9_]*'

# Words as JSON, which YAML holds: json WORD …
json() {
  local word all=
  for word in "$@"; do
    [[ $word != *[[:cntrl:]]* ]] ||
      refuse "$word: a control character in the command or a variable"
    word=${word//\\/\\\\}
    all+=", \"${word//\"/\\\"}\""
  done
  printf %s "${all#, }"
}

accelerator_of() {
  case $1 in
    v5e) echo tpu-v5-lite-podslice ;;
    v5p) echo tpu-v5p-slice ;;
    v6e) echo tpu-v6e-slice ;;
    tpu7x) echo tpu7x ;;
    *) refuse "--topology=$flag_topology: wanted v5e:…, v5p:…, v6e:… or tpu7x:…" ;;
  esac
}

variables() {
  local item name place all=
  for item in ${flag_env//,/ }; do
    [[ $item =~ ^($VARIABLE)=(.*)$ ]] || refuse "--env: $item: wanted NAME=value"
    all+=", {\"name\": $(json "${BASH_REMATCH[1]}"), \"value\": \
$(json "${BASH_REMATCH[2]}")}"
  done
  for item in ${flag_secrets//,/ }; do
    [[ $item =~ ^($VARIABLE)=([-a-z0-9.]+)/([-A-Za-z0-9._]+)$ ]] ||
      refuse "--secrets: wanted NAME=secret/key, of a Secret of the cluster"
    name=$(json "${BASH_REMATCH[1]}")
    place="\"name\": $(json "${BASH_REMATCH[2]}"), \"key\": \
$(json "${BASH_REMATCH[3]}")"
    all+=", {\"name\": $name, \"valueFrom\": {\"secretKeyRef\": {$place}}}"
  done
  echo "${all#, }"
}

# fill NAME VALUE: in the manifest.
fill() {
  manifest=${manifest//"\${$1}"/"$2"}
}

read_flags "$@"
needs name '[a-z]([-a-z0-9]*[a-z0-9])?' 'small letters, digits and dashes'
needs topology '[a-z0-9]+:[0-9]+x[0-9]+(x[0-9]+)?' 'v5e:4x4, v5p:4x4x4'
needs image '[-A-Za-z0-9._/:@]+' 'the name of an image in a registry'
needs permanent '[1-9][0-9]*(,[1-9][0-9]*)*' 'statuses: 2,64'
needs namespace '[-a-z0-9]+' 'a namespace of the cluster'
needs chips_per_host '[148]' '1, 4 or 8'
needs slices '[1-9][0-9]*' 'a number'
needs max_restarts '[0-9]+' 'a number'
((${#WORDS[@]})) || refuse 'give the command after --'
accelerator=$(accelerator_of "${flag_topology%%:*}")
sizes=${flag_topology#*:}
chips=$((${sizes//x/*}))
((chips >= flag_chips_per_host)) || flag_chips_per_host=$chips
((chips % flag_chips_per_host == 0)) ||
  refuse "--chips_per_host=$flag_chips_per_host: does not divide $chips chips"
spot='cloud.google.com/gke-spot: "true"'
$flag_spot || spot=

manifest=$(grep -v '^#' "$HERE/jobset.yaml")
fill name "$flag_name"
fill slices "$flag_slices"
fill max_restarts "$flag_max_restarts"
fill permanent "$flag_permanent"
fill image "$flag_image"
fill accelerator "$accelerator"
fill topology "$sizes"
fill chips "$flag_chips_per_host"
fill hosts $((chips / flag_chips_per_host))
fill spot "$spot"
env=$(variables)
command=$(json "${WORDS[@]}")
fill env "$env"
fill command "$command"

if $flag_dry_run; then
  echo "# kubectl apply --namespace=$flag_namespace -f -"
  echo "$manifest"
else
  kubectl apply --namespace="$flag_namespace" -f - <<<"$manifest"
fi
