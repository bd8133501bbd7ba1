# The entrypoint of the image of PostgreSQL that images.py makes. POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB and PGDATA
# mean what they mean to the official image; the first word is where the programs are.
set -eu
PATH="$1:/bin"
user="${POSTGRES_USER:-postgres}"
data="${PGDATA:-/var/lib/postgresql/data}"
if [ ! -e "$data" ]; then
    # Under another name until it is whole: whatever ends this, the next start begins anew.
    new="$data.unfinished"
    rm -rf "$new"
    printf '%s\n' "${POSTGRES_PASSWORD:?is not set}" |
        initdb --pgdata="$new" --username="$user" --pwfile=/dev/stdin --encoding=UTF8 --locale=C \
            --auth-host=scram-sha-256 --auth-local=trust
    database="${POSTGRES_DB:-$user}"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$new" postgres
    fi
    echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
    mv "$new" "$data"
fi
exec postgres -D "$data" -c 'listen_addresses=*'
