/*
 * A stand-in for Citus, for tests where the real one cannot be installed.
 *
 * PostgreSQL does not start when a library in shared_preload_libraries is missing, and keepers commit a
 * worker's failover in two phases. So this is what the rest of a formation sees of the library: that it
 * wants to be first, that it makes a directory in base, that it makes room for prepared transactions, and its
 * settings.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "tcop/utility.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

#define JOB_CACHE "base/pgsql_job_cache"

extern PGDLLEXPORT void _PG_init(void);

static char *node_conninfo;
static char *local_hostname;
static char *citus_cluster_name;
static int	use_secondary_nodes;
static bool enable_ddl_propagation;

static const struct config_enum_entry use_secondary_nodes_words[] = {
	{"never", 0, false},
	{"always", 1, false},
	{NULL, 0, false}
};

void
_PG_init(void)
{
	char		room[16];

	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errmsg("citus (stand-in) can only be loaded by shared_preload_libraries")));
	if (ProcessUtility_hook != NULL)
		ereport(ERROR, (errmsg("citus (stand-in) has to be loaded first"),
						errhint("Place citus at the beginning of shared_preload_libraries.")));

	/* As CreateRequiredDirectories does: a data directory without base is none that the server starts with. */
	if (!IsUnderPostmaster && MakePGDirectory(JOB_CACHE) != 0 && errno != EEXIST)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", JOB_CACHE)));

	if (max_prepared_xacts == 0)
	{
		snprintf(room, sizeof(room), "%d", 2 * MaxConnections);
		SetConfigOption("max_prepared_transactions", room, PGC_POSTMASTER, PGC_S_DYNAMIC_DEFAULT);
	}

	DefineCustomStringVariable("citus.node_conninfo", "Parameters of connections between nodes.", NULL,
							   &node_conninfo, "sslmode=require", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("citus.local_hostname", "The name this node reaches itself by.", NULL,
							   &local_hostname, "localhost", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("citus.cluster_name", "The cluster this node belongs to.", NULL,
							   &citus_cluster_name, "default", PGC_SU_BACKEND, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomEnumVariable("citus.use_secondary_nodes", "Whether reads go to secondaries.", NULL,
							 &use_secondary_nodes, 0, use_secondary_nodes_words, PGC_SU_BACKEND, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("citus.enable_ddl_propagation", "Whether other nodes get what is created here.", NULL,
							 &enable_ddl_propagation, true, PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("citus");
}
