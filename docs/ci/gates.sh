#!/usr/bin/env bash
# Gates on a machine-learning model for Jenkins, or any other runner of shell scripts:
#   MODEL=model POLICY=trust.toml DATA=eval.npz EPS=8/255 BOM=bom.cdx.json bash gates.sh
# Each gate leaves a JUnit report in $REPORTS; all of them run, and one that fails fails the script.
set -uo pipefail
: "${MODEL:?a model folder or file}"
REPORTS=${REPORTS:-mlsecops-reports}
mkdir -p -- "$REPORTS"
failed=0
gate() { # name of the report, then the command
  local report=$REPORTS/$1.xml
  shift
  "$@" --format junit > "$report" || failed=1
}
gate scan mlsecops scan --strict "$MODEL"
[[ -z ${POLICY:-} ]] || gate verify mlsecops verify --policy "$POLICY" "$MODEL"
[[ -z ${POLICY:-} || -z ${DATA:-} ]] || gate attack mlsecops attack --model "$MODEL" \
  --policy "$POLICY" --data "$DATA" --eps "${EPS:?radius of the attacks}" \
  --attack "${ATTACK:-fgsm,pgd}" --min-accuracy "${MIN_ACCURACY:-0.70}" ${ARCH:+--arch "$ARCH"}
[[ -z ${ENDPOINT:-} ]] || gate fuzz mlsecops fuzz "$ENDPOINT" --model "${ENDPOINT_MODEL:?its name}"
[[ -z ${POLICY:-} || -z ${BOM:-} ]] || gate bom mlsecops bom verify "$BOM" --model "$MODEL" \
  --policy "$POLICY"
exit "$failed"
