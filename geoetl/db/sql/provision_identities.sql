-- Roles that sign in with a token of Microsoft Entra ID: named like the managed identity, neither administrator nor MFA.
-- https://learn.microsoft.com/azure/postgresql/flexible-server/how-to-manage-azure-ad-users
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY {identities} LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            PERFORM pgaadauth_create_principal(wanted, false, false);
        END IF;
    END LOOP;
END
$$;
