//! Lists of the functions, types and tables that queries may name. Any other name is refused.
//!
//! The functions compute from their arguments. None acts, waits, reads files or settings, runs text as a query, or tells
//! about other sessions.

/// Names, with a space between two.
pub(super) struct NameList(&'static str);

impl NameList {
    /// Whether `name` is one of them.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.split_ascii_whitespace()
    }
}

/// Functions of the SQL standard and of PostgreSQL. Lower case, in alphabetical order.
pub(super) const POSTGRES_FUNCTIONS: NameList = NameList(
    "abs acos acosd acosh age any_value array_agg array_append array_cat array_dims array_fill array_length \
     array_lower array_ndims array_position array_positions array_prepend array_remove array_replace array_sample \
     array_shuffle array_to_json array_to_string array_upper ascii asin asind asinh atan atan2 atan2d atand atanh \
     avg bit_and bit_count bit_length bit_or bit_xor bool_and bool_or broadcast btrim cardinality cbrt ceil \
     ceiling char_length character_length chr clock_timestamp coalesce col_description concat concat_ws \
     convert_from corr cos cosd cosh cot cotd count covar_pop covar_samp cume_dist current_catalog current_date \
     current_role current_schema current_time current_timestamp current_user date date_add date_bin date_part \
     date_subtract date_trunc daterange decode degrees dense_rank div encode erf erfc every exp extract factorial \
     family first_value floor format format_type gcd gen_random_uuid generate_series generate_subscripts get_bit \
     get_byte greatest grouping height host initcap int4range int8range isempty isfinite json_agg \
     json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each \
     json_each_text json_extract_path json_extract_path_text json_object json_object_agg json_object_keys \
     json_scalar json_strip_nulls json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text \
     jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path \
     jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists \
     jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set \
     jsonb_strip_nulls jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead least left \
     length ln localtime localtimestamp log log10 lower lower_inc lower_inf lpad ltrim make_date make_interval \
     make_time make_timestamp make_timestamptz masklen max md5 min min_scale mod mode multirange netmask network \
     normalize now nth_value ntile nullif num_nonnulls num_nulls numnode numrange obj_description octet_length \
     overlay parse_ident percent_rank percentile_cont percentile_disc pg_column_size pg_size_pretty pg_typeof \
     phraseto_tsquery pi plainto_tsquery point position pow power querytree quote_ident quote_literal \
     quote_nullable radians random random_normal range_agg range_merge rank regexp_count regexp_instr regexp_like \
     regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr \
     regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace \
     reverse right round row row_number row_to_json rpad rtrim scale session_user setweight sha224 sha256 sha384 \
     sha512 sign sin sind sinh split_part sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp \
     string_agg string_to_array string_to_table strip strpos substr substring sum tan tand tanh text timeofday \
     timezone to_ascii to_char to_date to_hex to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector \
     transaction_timestamp translate trim trim_array trim_scale trunc ts_headline ts_rank ts_rank_cd tsrange \
     tstzrange unistr unnest upper upper_inc upper_inf user var_pop var_samp variance version websearch_to_tsquery \
     width width_bucket",
);

/// Those of PostgreSQL's functions that it calls volatile and that change nothing.
pub(super) const HARMLESS_VOLATILE: NameList =
    NameList("array_sample array_shuffle clock_timestamp gen_random_uuid random random_normal timeofday");

/// Functions of SQLite. Left out are those whose time grows with the product of two arguments (`json_patch`, `unhex`)
/// and those that tell about the connection. Lower case, in alphabetical order.
pub(super) const SQLITE_FUNCTIONS: NameList = NameList(
    "abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling char coalesce concat concat_ws cos cosh count \
     cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor \
     format glob group_concat hex highlight if ifnull iif instr json json_array json_array_length json_each \
     json_error_position json_extract json_group_array json_group_object json_object json_pretty json_quote \
     json_remove json_replace json_set json_tree json_type json_valid julianday lag last_value lead length like \
     likelihood likely ln log log10 log2 lower ltrim match max min mod nth_value ntile nullif octet_length \
     percent_rank pi pow power printf quote radians random randomblob rank replace round row_number rtrim sign sin \
     sinh snippet soundex sqlite_version sqrt strftime string_agg substr substring sum tan tanh time timediff total \
     trim trunc typeof unicode unixepoch unlikely upper zeroblob",
);

/// What SQLite calls the functions behind its operators, beside `like`, `glob` and `match`.
pub(super) const SQLITE_OPERATORS: NameList = NameList("-> ->>");

/// Functions of SQLite that are tables in FROM.
pub(super) const SQLITE_TABLE_FUNCTIONS: NameList = NameList("json_each json_tree");

/// Types a query may cast to, beside those that the parser knows by name. Reading a value of another type runs its
/// owner's code, or looks names up in the catalogue, as `regclass` does.
pub(super) const POSTGRES_TYPES: NameList = NameList(
    "bpchar bytea cidr citext date datemultirange daterange float4 float8 hstore inet int2 int4 int4range int8 \
     int8range interval json jsonb jsonpath macaddr macaddr8 money name numeric numrange oid text time timestamp \
     timestamptz timetz tsquery tsrange tstzrange tsvector uuid varbit varchar vector",
);

/// First words of the types that the parser knows by name.
pub(super) const STANDARD_TYPES: NameList = NameList(
    "bigint bit bool boolean bytea char character date dec decimal double float int integer interval json jsonb numeric \
     real smallint text time timestamp timestamptz tsquery tsvector uuid varbit varchar",
);

/// Operators that PostgreSQL uses for what a query writes otherwise: BETWEEN, IN, ORDER BY, LIKE and the like.
pub(super) const IMPLIED_OPERATORS: NameList = NameList("= <> < <= > >= ~~ !~~ ~~* !~~* ~ !~ ~* !~*");

/// Tables of PostgreSQL that hold passwords, settings, other people's queries or samples of their data.
pub(super) const CLOSED_TABLES: NameList = NameList(
    "pg_authid pg_backend_memory_contexts pg_config pg_cursors pg_file_settings pg_hba_file_rules \
     pg_ident_file_mappings pg_largeobject pg_prepared_statements pg_prepared_xacts pg_settings pg_shadow \
     pg_shmem_allocations pg_stat_activity pg_stat_gssapi pg_stat_replication pg_stat_ssl pg_stat_statements \
     pg_stat_wal_receiver pg_statistic pg_statistic_ext_data pg_stats pg_stats_ext pg_stats_ext_exprs pg_subscription \
     pg_user_mapping pg_user_mappings",
);

/// Whether SQLite makes a table of this name itself, which tells about the connection or the file. Lower case.
pub(super) fn is_sqlite_inside(table: &str) -> bool {
    table.starts_with("pragma_")
        || ["bytecode", "dbstat", "fts3tokenize", "sqlite_dbpage", "sqlite_memstat", "sqlite_stmt", "tables_used"]
            .contains(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order_and_name_nothing_that_acts() {
        for list in [&POSTGRES_FUNCTIONS, &HARMLESS_VOLATILE, &SQLITE_FUNCTIONS, &POSTGRES_TYPES, &CLOSED_TABLES] {
            assert!(list.iter().is_sorted(), "{}", list.0);
        }
        for name in POSTGRES_FUNCTIONS.iter().chain(SQLITE_FUNCTIONS.iter()) {
            let is_known = ["pg_column_size", "pg_size_pretty", "pg_typeof", "sqlite_version"].contains(&name);
            assert!(is_known || !(name.starts_with("pg_") || name.starts_with("sqlite_")), "{name}");
        }
        for name in HARMLESS_VOLATILE.iter() {
            assert!(POSTGRES_FUNCTIONS.contains(name), "{name}");
        }
    }
}
