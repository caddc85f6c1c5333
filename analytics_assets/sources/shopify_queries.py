"""The GraphQL documents that are sent to Shopify, and how many records they ask for at once.

Shopify reckons what a query may cost before it runs it: an object a point, a connection 2 + the cost of one of its nodes x
floor(2 ln(first)), and at most 1000 points a query. The sizes here make 857; where Shopify finds a query too dear all the
same, it is asked for half as many orders.
"""

from __future__ import annotations

from datetime import UTC, datetime

from analytics_assets.sources.connector import Task

ORDERS_AT_ONCE = 20
AGREEMENTS_AT_ONCE = 10
SALES_AT_ONCE = 20
# Of an order that holds more than that: the rest of its agreements, or one agreement with many sales.
DRAINED_AGREEMENTS = 25
DRAINED_SALES = 100
SALES_OF_ONE = 250

_MONEY = "{ shopMoney { amount currencyCode } }"
_ORDER = f"""
  id legacyResourceId createdAt processedAt updatedAt cancelledAt test currencyCode presentmentCurrencyCode
  displayFinancialStatus sourceName customer {{ id }}
  currentTotalPriceSet {_MONEY} totalPriceSet {_MONEY} totalRefundedSet {_MONEY}
  totalDiscountsSet {_MONEY} totalTaxSet {_MONEY} totalShippingPriceSet {_MONEY}
  refunds {{ id createdAt totalRefundedSet {_MONEY} }}
"""
_AGREEMENT = "__typename id happenedAt reason"
_SALE = f"""
  __typename id actionType lineType quantity
  totalAmount {_MONEY} totalTaxAmount {_MONEY} totalDiscountAmountBeforeTaxes {_MONEY}
"""
_PAGE = "pageInfo { hasNextPage endCursor }"

ORDERS = f"""query($q: String!, $first: Int!, $after: String, $agreements: Int!, $sales: Int!) {{
  orders(first: $first, after: $after, sortKey: UPDATED_AT, query: $q) {{
    {_PAGE}
    nodes {{ {_ORDER}
      agreements(first: $agreements) {{
        {_PAGE}
        nodes {{ {_AGREEMENT} sales(first: $sales) {{ {_PAGE} nodes {{ {_SALE} }} }} }}
      }}
    }}
  }}
}}"""

# By way of the order: an agreement is no node that could be asked for by its own id.
ORDER_AGREEMENTS = f"""query($id: ID!, $agreements: Int!, $after: String, $sales: Int!, $afterSale: String) {{
  order(id: $id) {{
    id legacyResourceId updatedAt
    agreements(first: $agreements, after: $after) {{
      {_PAGE}
      nodes {{ {_AGREEMENT} sales(first: $sales, after: $afterSale) {{ {_PAGE} nodes {{ {_SALE} }} }} }}
    }}
  }}
}}"""

ACCOUNT = "query { shop { name ianaTimezone currencyCode } currentAppInstallation { accessScopes { handle } } }"

# groupObjects: an order's lines follow it. Without it they come in any order, and no part of the file could be read alone.
RUN_BULK = """mutation($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: true) {
    bulkOperation { id status }
    userErrors { field message code }
  }
}"""

BULK_STATUS = """query($id: ID!) {
  node(id: $id) { ... on BulkOperation { id status errorCode objectCount fileSize url } }
}"""


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")


def search(task: Task) -> str:
    """Orders modified within the task's window. (Shopify reads < as <=, so an order of the end's second comes twice.)"""
    return f"updated_at:>='{_text(task.start)}' AND updated_at:<'{_text(task.end)}'"


def bulk_orders(task: Task) -> str:
    """The query of a bulk operation: no sizes, no pages, edges all the way."""
    return f"""{{
  orders(sortKey: UPDATED_AT, query: "{search(task)}") {{ edges {{ node {{ {_ORDER}
    agreements {{ edges {{ node {{ {_AGREEMENT} sales {{ edges {{ node {{ {_SALE} }} }} }} }} }} }}
  }} }} }}
}}"""
