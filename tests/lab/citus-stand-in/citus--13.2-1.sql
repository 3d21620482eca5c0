-- A stand-in for Citus: the tables and functions that pg_auto_failover's keepers and muster use, with the
-- names, arguments and defaults that Citus documents. It keeps the rows; it connects to no other node.
\echo Use "CREATE EXTENSION citus" to load this file. \quit

CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');

-- A table cannot be created in pg_catalog, but moved there.
CREATE SCHEMA citus;
CREATE SEQUENCE citus.pg_dist_groupid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE SEQUENCE citus.pg_dist_node_nodeid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE TABLE citus.pg_dist_node (
    nodeid int PRIMARY KEY DEFAULT nextval('citus.pg_dist_node_nodeid_seq'),
    groupid int NOT NULL,
    nodename text NOT NULL,
    nodeport int NOT NULL DEFAULT 5432,
    noderack text NOT NULL DEFAULT 'default',
    hasmetadata bool NOT NULL DEFAULT false,
    isactive bool NOT NULL DEFAULT true,
    noderole noderole NOT NULL DEFAULT 'primary',
    nodecluster name NOT NULL DEFAULT 'default',
    metadatasynced bool NOT NULL DEFAULT false,
    shouldhaveshards bool NOT NULL DEFAULT true,
    UNIQUE (nodename, nodeport)
);
CREATE TABLE citus.pg_dist_poolinfo (nodeid int PRIMARY KEY, poolinfo text NOT NULL);
ALTER SEQUENCE citus.pg_dist_groupid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_node_nodeid_seq SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_node SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_poolinfo SET SCHEMA pg_catalog;
GRANT SELECT ON pg_catalog.pg_dist_node, pg_catalog.pg_dist_poolinfo TO public;

CREATE FUNCTION pg_catalog.citus_version() RETURNS text
LANGUAGE sql STABLE AS $$ SELECT 'stand-in for Citus 13.2' $$;

-- Adding what is there returns its id; a group has one primary; the coordinator's group holds no shards.
CREATE FUNCTION pg_catalog.citus_add_inactive_node(nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE plpgsql STRICT AS $$
DECLARE
    id int := (SELECT n.nodeid FROM pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2);
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'nodes are added on a primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF id IS NOT NULL THEN
        RETURN id;
    END IF;
    IF $4 = 'primary' AND EXISTS (SELECT FROM pg_dist_node n WHERE n.groupid = $3 AND n.noderole = 'primary') THEN
        RAISE EXCEPTION 'group % already has a primary node', $3;
    END IF;
    INSERT INTO pg_dist_node AS n (groupid, nodename, nodeport, isactive, noderole, nodecluster, shouldhaveshards)
    VALUES (CASE $3 WHEN -1 THEN nextval('pg_dist_groupid_seq') ELSE $3 END, $1, $2, false, $4, $5, $3 <> 0)
    RETURNING n.nodeid INTO id;
    RETURN id;
END $$;

CREATE FUNCTION pg_catalog.citus_activate_node(nodename text, nodeport int)
RETURNS int LANGUAGE plpgsql STRICT AS $$
DECLARE
    id int;
BEGIN
    -- A worker's standby has its metadata from its primary, so it is not synced to.
    UPDATE pg_dist_node n SET isactive = true, hasmetadata = (n.noderole = 'primary' OR n.groupid = 0),
        metadatasynced = (n.noderole = 'primary' OR n.groupid = 0)
    WHERE n.nodename = $1 AND n.nodeport = $2 RETURNING n.nodeid INTO id;
    IF id IS NULL THEN
        RAISE EXCEPTION 'node at "%:%" does not exist', $1, $2;
    END IF;
    RETURN id;
END $$;

CREATE FUNCTION pg_catalog.citus_add_node(nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM citus_add_inactive_node($1, $2, $3, $4, $5);
    RETURN citus_activate_node($1, $2);
END $$;

CREATE FUNCTION pg_catalog.citus_set_coordinator_host(host text, port int DEFAULT current_setting('port')::int,
    node_role noderole DEFAULT 'primary', node_cluster name DEFAULT 'default')
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    UPDATE pg_dist_node n SET nodename = $1, nodeport = $2
    WHERE n.groupid = 0 AND n.noderole = $3 AND n.nodecluster = $4;
    IF NOT FOUND THEN
        PERFORM citus_add_node($1, $2, 0, $3, $4);
    END IF;
END $$;

CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int)
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    DELETE FROM pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node at "%:%" does not exist', $1, $2;
    END IF;
END $$;

CREATE FUNCTION pg_catalog.citus_update_node(node_id int, new_node_name text, new_node_port int,
    force bool DEFAULT false, lock_cooldown int DEFAULT 10000)
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    UPDATE pg_dist_node n SET nodename = $2, nodeport = $3 WHERE n.nodeid = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % not found', $1;
    END IF;
END $$;

CREATE FUNCTION pg_catalog.citus_set_node_property(nodename text, nodeport int, property text, value bool)
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF $3 <> 'shouldhaveshards' THEN
        RAISE EXCEPTION 'only the ''shouldhaveshards'' property can be set using this function';
    END IF;
    UPDATE pg_dist_node n SET shouldhaveshards = $4 WHERE n.nodename = $1 AND n.nodeport = $2;
END $$;

-- The stand-in does not connect: every pair of active nodes is well.
CREATE FUNCTION pg_catalog.citus_check_cluster_node_health(OUT from_nodename text, OUT from_nodeport int,
    OUT to_nodename text, OUT to_nodeport int, OUT result bool)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
    SELECT a.nodename, a.nodeport, b.nodename, b.nodeport, true
    FROM pg_dist_node a CROSS JOIN pg_dist_node b WHERE a.isactive AND b.isactive
$$;

-- The old names, which the keepers of pg_auto_failover 2.0 use.
CREATE FUNCTION pg_catalog.master_add_node(nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE sql STRICT AS $$ SELECT citus_add_node($1, $2, $3, $4, $5) $$;
CREATE FUNCTION pg_catalog.master_add_inactive_node(nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE sql STRICT AS $$ SELECT citus_add_inactive_node($1, $2, $3, $4, $5) $$;
CREATE FUNCTION pg_catalog.master_activate_node(nodename text, nodeport int)
RETURNS int LANGUAGE sql STRICT AS $$ SELECT citus_activate_node($1, $2) $$;
CREATE FUNCTION pg_catalog.master_remove_node(nodename text, nodeport int)
RETURNS void LANGUAGE sql STRICT AS $$ SELECT citus_remove_node($1, $2) $$;
CREATE FUNCTION pg_catalog.master_update_node(node_id int, new_node_name text, new_node_port int,
    force bool DEFAULT false, lock_cooldown int DEFAULT 10000)
RETURNS void LANGUAGE sql STRICT AS $$ SELECT citus_update_node($1, $2, $3, $4, $5) $$;

DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(citus|master)_.*_(node|host|property)$'
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM public', function);
    END LOOP;
END $$;
