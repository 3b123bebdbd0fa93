//! Vindexes: functions from a column's value to a keyspace id.
