#!/usr/bin/env bash
# The example beside a PACS: a CT series that Orthanc receives comes back certified, in the same study.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
EXAMPLE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../docker/pacs" && pwd)
SLICES=4
trust_and_authenticate
wait_until "ready" is_ready

ORTHANC=$($COMPOSE --profile pacs-example config --images orthanc)
# "<no value>": it is here, and no stand-in of an earlier run
here=$(docker image inspect -f '{{.Config.Labels.stands_in}}' "$ORTHANC" 2>/dev/null || echo absent)
if [ "$here" != "<no value>" ] && ! docker pull --quiet "$ORTHANC" >/dev/null 2>&1; then
  echo "no image of Orthanc: Debian's package stands in for it"
  docker build --quiet --tag "$ORTHANC" - >/dev/null <<'D'
FROM python:3.11-slim-bookworm
LABEL stands_in=debian
RUN apt-get update && apt-get install --yes --no-install-recommends orthanc orthanc-dicomweb \
 && rm -rf /var/lib/apt/lists/* /etc/orthanc && mkdir -p /etc/orthanc /var/lib/orthanc/db /usr/local/share/orthanc/plugins \
 && chown -R root:root /var/lib/orthanc
ENTRYPOINT ["Orthanc"]
CMD ["/etc/orthanc/"]
D
fi

put_back() {
  $COMPOSE --profile pacs-example rm --stop --force --volumes node orthanc >/dev/null 2>&1
  docker volume rm --force promptsmooth_node-spool promptsmooth_orthanc-data >/dev/null
  docker network rm promptsmooth_pacs >/dev/null 2>&1 || true
}
trap 'put_back || true; rm -rf "$FOLDER"' EXIT
put_back # what a run that was killed has left
install --directory --mode=755 "$FOLDER/node"
install --mode=644 "$EXAMPLE/rules.toml" "$FOLDER/node"
new_key node >"$FOLDER/node/node.key"
chown 10001 "$FOLDER/node/node.key" && chmod 400 "$FOLDER/node/node.key"
export PROMPTSMOOTH_NODE_DIR=$FOLDER/node
$COMPOSE --profile pacs-example up --detach --wait --no-build --pull never >/dev/null 2>&1 ||
  fail "the example: $($COMPOSE --profile pacs-example logs node orthanc --tail 10)"
inside node promptsmooth dicom doctor >"$FOLDER/doctor" || fail "the doctor: $(cat "$FOLDER/doctor")"
echo "  the doctor of the node finds the service, Orthanc and the rules"

STUDY=$($COMPOSE exec -T node python - $SLICES <<'P'
import sys
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE
ct = dcmread(get_testdata_file("CT_small.dcm"))
ct.StudyInstanceUID, ct.SeriesInstanceUID = generate_uid(), generate_uid()
scanner = AE(ae_title="SCANNER")
scanner.add_requested_context(ct.SOPClassUID, ct.file_meta.TransferSyntaxUID)
link = scanner.associate("orthanc", 4242, ae_title="ORTHANC")
assert link.is_established
for number in range(1, int(sys.argv[1]) + 1):
    ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ct.InstanceNumber = number
    assert link.send_c_store(ct).Status == 0
link.release()
print(ct.StudyInstanceUID)
P
)
count() {  # count MODALITY: the objects of the study in Orthanc
  curl -sS --noproxy '*' --max-time 60 http://127.0.0.1:8042/tools/find \
    -d "{\"Level\": \"Instance\", \"Query\": {\"StudyInstanceUID\": \"$STUDY\", \"Modality\": \"$1\"}}" |
    python3 -c 'import json, sys; print(len(json.load(sys.stdin)))'
}
has() { [ "$(count "$1")" -ge "$2" ]; }
wait_until "a report" has SR 1
kill_main node
wait_until "a report of each image and one of the series" has SR $((SLICES + 1))
wait_until "a PDF of each image" has DOC $SLICES
inside node promptsmooth dicom status >"$FOLDER/status" || fail "the node: $(cat "$FOLDER/status")"
[ "$(count SR) $(count CT)" = "$((SLICES + 1)) $SLICES" ] || fail "$(count SR) reports of $(count CT) images"
echo "  $(count CT) images stored, $(count SR) reports and $(count DOC) PDFs in their study, the node killed in between"
echo "PACS OK"
