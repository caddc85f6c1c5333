"""The part of Shopify's GraphQL Admin schema that the sandbox serves. A query for anything else is refused, as Shopify does."""

from __future__ import annotations

from functools import lru_cache

from graphql import GraphQLSchema, build_schema

_SDL = """
scalar DateTime
scalar Decimal
scalar UnsignedInt64
scalar URL

enum CurrencyCode { %(currencies)s }
enum OrderSortKeys { CREATED_AT ID PROCESSED_AT UPDATED_AT }
enum OrderActionType { ORDER ORDER_EDIT REFUND RETURN UNKNOWN }
enum SaleActionType { ORDER RETURN UNKNOWN UPDATE }
enum SaleLineType { ADDITIONAL_FEE ADJUSTMENT DUTY FEE GIFT_CARD PRODUCT SHIPPING TIP UNKNOWN }
enum OrderCancelReason { CUSTOMER DECLINED FRAUD INVENTORY OTHER STAFF }
enum OrderDisplayFinancialStatus { AUTHORIZED EXPIRED PAID PARTIALLY_PAID PARTIALLY_REFUNDED PENDING REFUNDED VOIDED }
enum OrderDisplayFulfillmentStatus { FULFILLED IN_PROGRESS ON_HOLD PARTIALLY_FULFILLED UNFULFILLED }
enum BulkOperationStatus { CANCELED CANCELING COMPLETED CREATED EXPIRED FAILED RUNNING }
enum BulkOperationErrorCode { ACCESS_DENIED INTERNAL_SERVER_ERROR TIMEOUT }
enum BulkOperationType { MUTATION QUERY }
enum BulkOperationsSortKeys { COMPLETED_AT CREATED_AT ID }
enum BulkOperationUserErrorCode { INVALID LIMIT_REACHED OPERATION_IN_PROGRESS }

interface Node { id: ID! }

type QueryRoot {
  shop: Shop!
  order(id: ID!): Order
  orders(first: Int, after: String, reverse: Boolean = false, sortKey: OrderSortKeys = PROCESSED_AT, query: String): OrderConnection!
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
  currentAppInstallation: AppInstallation!
  currentBulkOperation(type: BulkOperationType = QUERY): BulkOperation
  bulkOperation(id: ID!): BulkOperation
  bulkOperations(
    first: Int, after: String, reverse: Boolean = false, sortKey: BulkOperationsSortKeys = CREATED_AT, query: String
  ): BulkOperationConnection!
}

type Mutation {
  bulkOperationRunQuery(query: String!, groupObjects: Boolean! = false): BulkOperationRunQueryPayload
  bulkOperationCancel(id: ID!): BulkOperationCancelPayload
}

type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
type MoneyV2 { amount: Decimal! currencyCode: CurrencyCode! }
type MoneyBag { shopMoney: MoneyV2! presentmentMoney: MoneyV2! }
type AccessScope { handle: String! description: String! }
type AppInstallation implements Node { id: ID! accessScopes: [AccessScope!]! }

type ShopPlan { displayName: String! publicDisplayName: String! partnerDevelopment: Boolean! shopifyPlus: Boolean! }
type Shop implements Node {
  id: ID! name: String! myshopifyDomain: String! currencyCode: CurrencyCode! ianaTimezone: String!
  timezoneOffset: String! timezoneOffsetMinutes: Int! createdAt: DateTime! url: URL! plan: ShopPlan!
}

type Customer implements Node { id: ID! legacyResourceId: UnsignedInt64! }
type Refund implements Node { id: ID! legacyResourceId: UnsignedInt64! createdAt: DateTime note: String totalRefundedSet: MoneyBag! }
type LineItem implements Node {
  id: ID! title: String! name: String! sku: String quantity: Int!
  originalUnitPriceSet: MoneyBag! originalTotalSet: MoneyBag! discountedTotalSet: MoneyBag!
}

type Order implements Node {
  id: ID! legacyResourceId: UnsignedInt64! name: String! email: String
  createdAt: DateTime! processedAt: DateTime! updatedAt: DateTime! cancelledAt: DateTime closedAt: DateTime
  cancelReason: OrderCancelReason test: Boolean! confirmed: Boolean! taxesIncluded: Boolean! tags: [String!]!
  currencyCode: CurrencyCode! presentmentCurrencyCode: CurrencyCode! sourceName: String
  displayFinancialStatus: OrderDisplayFinancialStatus displayFulfillmentStatus: OrderDisplayFulfillmentStatus!
  customer: Customer
  currentTotalPriceSet: MoneyBag! totalPriceSet: MoneyBag! originalTotalPriceSet: MoneyBag! subtotalPriceSet: MoneyBag
  totalRefundedSet: MoneyBag! totalDiscountsSet: MoneyBag totalTaxSet: MoneyBag totalShippingPriceSet: MoneyBag!
  refunds(first: Int): [Refund!]!
  lineItems(first: Int, after: String, reverse: Boolean = false): LineItemConnection!
  agreements(first: Int, after: String, reverse: Boolean = false): SalesAgreementConnection!
}

interface SalesAgreement { %(agreement)s }
type OrderAgreement implements SalesAgreement { %(agreement)s }
type OrderEditAgreement implements SalesAgreement { %(agreement)s }
type RefundAgreement implements SalesAgreement { %(agreement)s }

interface Sale { %(sale)s }
type ProductSale implements Sale { %(sale)s lineItem: LineItem! }
type ShippingLineSale implements Sale { %(sale)s }
type FeeSale implements Sale { %(sale)s }

type BulkOperation implements Node {
  id: ID! status: BulkOperationStatus! type: BulkOperationType! query: String! createdAt: DateTime! completedAt: DateTime
  errorCode: BulkOperationErrorCode objectCount: UnsignedInt64! rootObjectCount: UnsignedInt64! fileSize: UnsignedInt64
  url: URL partialDataUrl: URL
}
type UserError { field: [String!] message: String! }
type BulkOperationUserError { field: [String!] message: String! code: BulkOperationUserErrorCode }
type BulkOperationRunQueryPayload { bulkOperation: BulkOperation userErrors: [BulkOperationUserError!]! }
type BulkOperationCancelPayload { bulkOperation: BulkOperation userErrors: [UserError!]! }

schema { query: QueryRoot mutation: Mutation }
"""
_AGREEMENT = "id: ID! happenedAt: DateTime! reason: OrderActionType! sales(first: Int, after: String, reverse: Boolean = false): SaleConnection!"
_SALE = """id: ID! actionType: SaleActionType! lineType: SaleLineType! quantity: Int totalAmount: MoneyBag! totalTaxAmount: MoneyBag!
  totalDiscountAmountBeforeTaxes: MoneyBag! totalDiscountAmountAfterTaxes: MoneyBag!"""
_CURRENCIES = "AUD BRL CAD EUR GBP INR JPY NPR USD"
_CONNECTIONS = ("Order", "LineItem", "SalesAgreement", "Sale", "BulkOperation")


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    """The schema, made at first use."""
    connections = "".join(
        f"type {name}Connection {{ nodes: [{name}!]! edges: [{name}Edge!]! pageInfo: PageInfo! }}\n"
        f"type {name}Edge {{ cursor: String! node: {name}! }}\n"
        for name in _CONNECTIONS
    )
    return build_schema(_SDL % {"currencies": _CURRENCIES, "agreement": _AGREEMENT, "sale": _SALE} + connections)
