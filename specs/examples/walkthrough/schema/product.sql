-- What stays in `commerce` once customers and their orders have a keyspace of their own.

CREATE TABLE product (
  sku varbinary(128) NOT NULL,
  description varbinary(128),
  price bigint,
  PRIMARY KEY (sku)
);
