-- Everything that schema geoetl is made of, as text: one row per column, constraint, index, function and trigger.
SELECT format('column %s.%s', c.relname, a.attname),
       format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text || a.attgenerated::text
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = to_regnamespace('geoetl') AND c.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT format('view %s', c.relname), pg_get_viewdef(c.oid)
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('geoetl') AND c.relkind IN ('v', 'm')
UNION ALL
SELECT format('constraint %s.%s', c.relname, con.conname), pg_get_constraintdef(con.oid)
FROM pg_constraint AS con
JOIN pg_class AS c ON c.oid = con.conrelid
WHERE c.relnamespace = to_regnamespace('geoetl')
UNION ALL
SELECT format('index %s', i.relname), pg_get_indexdef(i.oid)
FROM pg_class AS i
WHERE i.relnamespace = to_regnamespace('geoetl') AND i.relkind IN ('i', 'I')
UNION ALL
SELECT format('function %s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)), pg_get_functiondef(p.oid)
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('geoetl') AND p.prokind IN ('f', 'p')
UNION ALL
SELECT format('trigger %s.%s', c.relname, t.tgname), pg_get_triggerdef(t.oid)
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = to_regnamespace('geoetl') AND NOT t.tgisinternal
