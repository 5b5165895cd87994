"""One service of several processes: what each leaves in a folder that all of them share.

    call → `tally` (mapped file);  worker → `state` → file of the process (`folder`)
    scrape → `folder`: files of all processes, dead ones too → `merge` → one page
    alert → `alert_table`: which process reports it

The folder is that of `PROMETHEUS_MULTIPROC_DIR`, prometheus_client's own convention: empty when the
service starts, and private to its user.
"""
