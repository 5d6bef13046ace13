//! Makes a query over a table refuse texts where it calculates or compares.
//!
//! SQLite itself never refuses: it takes `n/a` for 0 and `1,234` for 1, and any text for greater than every number, so that
//! sums, maxima and comparisons over a column with such cells are wrong without a word. The functions that the query calls
//! here instead (`sqlite/figures.rs`) look at each value: whatever subquery or alias it comes through, and only in the rows
//! that the query keeps.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, UnaryOperator, Value,
    VisitMut, VisitorMut,
};

use super::super::inputs::excerpt;

/// `(value, name)`: the value as a number; fails for a text that is none.
pub(super) const NUMBER: &str = "qron_number";
/// `(value, name)`: the value; fails for a text that does not begin with one number, or has more digits behind it.
pub(super) const CASTABLE: &str = "qron_castable";
/// `(use, value, name)`: the value; fails once one use has seen numbers and texts.
pub(super) const ONE_KIND: &str = "qron_one_kind";
/// `(operator, left, right)`: a comparison; fails for a number and a text that is none.
pub(super) const COMPARED: &str = "qron_compared";
/// `(value, low, high)`: the same for BETWEEN.
pub(super) const BETWEEN: &str = "qron_between";

/// Functions that calculate with their arguments.
const CALCULATING: [&str; 21] = [
    "abs", "avg", "ceil", "ceiling", "degrees", "exp", "floor", "ln", "log", "log10", "log2", "mod", "pow", "power",
    "radians", "round", "sign", "sqrt", "sum", "total", "trunc",
];
/// Other functions that answer nothing but numbers.
const NUMERIC: [&str; 12] = [
    "count",
    "dense_rank",
    "instr",
    "julianday",
    "length",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
    "unicode",
    "unixepoch",
    NUMBER,
];
/// Longest name of a value that an error shows, in bytes.
const MAX_NAME: usize = 60;

/// Rewrites `statement`, a query over a table.
pub(super) fn guard(statement: &mut Statement) {
    let ControlFlow::Continue(()) = statement.visit(&mut FigureGuard { uses: 0 });
}

struct FigureGuard {
    /// How often values of one kind are needed so far.
    uses: usize,
}

impl FigureGuard {
    fn one_kind(&mut self, value: &mut Expr) {
        let value = if let Expr::Collate { expr, .. } = value { expr } else { value };
        self.uses += 1;
        let (number, name) = (Value::Number(self.uses.to_string(), false), name_of(value));
        wrap(value, |value| call(ONE_KIND, vec![Expr::value(number), value, name]));
    }

    fn function(&mut self, function: &mut Function) {
        let Some(name) = plain_name(function) else { return };
        let FunctionArguments::List(list) = &mut function.args else { return };
        let values = list.args.iter_mut().filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
            _ => None,
        });
        if CALCULATING.contains(&name.as_str()) {
            values.for_each(number);
        } else if name == "min" || name == "max" {
            values.for_each(|value| self.one_kind(value));
        }
    }

    /// The order of the first rows decides which these are.
    fn order(&mut self, order: &mut OrderByExpr, select: &Select) {
        if let Expr::Value(value) = &order.expr {
            let position = value.to_string().parse::<usize>().ok().and_then(|position| position.checked_sub(1));
            let Some(named) = position.and_then(|position| column_at(select, position)) else { return };
            order.expr = named;
        }
        self.one_kind(&mut order.expr);
    }
}

impl VisitorMut for FigureGuard {
    type Break = std::convert::Infallible;

    /// Columns of the answer keep the names that SQLite gives them.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                let alias = Ident::with_quote('"', expr.to_string());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let Query { body, order_by: Some(order_by), limit_clause: Some(_), .. } = query else {
            return ControlFlow::Continue(());
        };
        // The order of several queries together is given by the names of their columns alone.
        if let (SetExpr::Select(select), OrderByKind::Expressions(orders)) = (&**body, &mut order_by.kind) {
            for order in orders.iter_mut() {
                self.order(order, select);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::BinaryOp { left, op, right } if is_arithmetic(op) => {
                number(left);
                number(right);
            }
            Expr::BinaryOp { left, op, right } if is_order(op) && is_plain(left) && is_plain(right) => {
                let op = text(op.to_string());
                *expr = call(COMPARED, vec![op, take(left), take(right)]);
            }
            Expr::Between { expr: value, negated, low, high }
                if [&value, &low, &high].into_iter().all(|e| is_plain(e)) =>
            {
                let within = call(BETWEEN, vec![take(value), take(low), take(high)]);
                *expr = if *negated {
                    Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(within) }))
                } else {
                    within
                };
            }
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: value }
            | Expr::Ceil { expr: value, .. }
            | Expr::Floor { expr: value, .. } => number(value),
            Expr::Cast { expr: value, data_type, .. }
                if is_numeric_type(&data_type.to_string()) && !is_figure(value) =>
            {
                let name = name_of(value);
                wrap(value, |value| call(CASTABLE, vec![value, name]));
            }
            Expr::Function(function) => self.function(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Column number `position` of the answer, as ORDER BY may name it; `None` when `*` stands before it.
fn column_at(select: &Select, position: usize) -> Option<Expr> {
    let items = select.projection.get(..=position)?;
    let is_one = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    match items.last().filter(|_| items.iter().all(is_one))? {
        SelectItem::ExprWithAlias { alias, .. } => Some(Expr::Identifier(alias.clone())),
        SelectItem::UnnamedExpr(expr) => Some(expr.clone()),
        _ => None,
    }
}

fn number(value: &mut Expr) {
    if !is_figure(value) {
        let name = name_of(value);
        wrap(value, |value| call(NUMBER, vec![value, name]));
    }
}

const fn is_arithmetic(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo)
}

const fn is_order(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    matches!(op, Gt | GtEq | Lt | LtEq)
}

/// Whether a value can be given to a function: no row of values, and no collation, which compares texts.
const fn is_plain(value: &Expr) -> bool {
    !matches!(value, Expr::Tuple(_) | Expr::Collate { .. })
}

/// Whether SQLite calculates with this type.
fn is_numeric_type(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["INT", "REAL", "FLOA", "DOUB", "NUM", "DEC"].iter().any(|part| name.contains(part))
}

/// Whether the value is a number whatever the table holds.
fn is_figure(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::BinaryOp { op, .. } => is_arithmetic(op),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, .. } => true,
        Expr::Cast { data_type, .. } => is_numeric_type(&data_type.to_string()),
        Expr::Nested(inner) => is_figure(inner),
        Expr::Function(function) => plain_name(function)
            .is_some_and(|name| CALCULATING.contains(&name.as_str()) || NUMERIC.contains(&name.as_str())),
        _ => false,
    }
}

fn plain_name(function: &Function) -> Option<String> {
    Some(function.name.0.last()?.as_ident()?.value.to_ascii_lowercase())
}

/// What an error calls the value: the name of its column.
fn name_of(value: &Expr) -> Expr {
    let is_name = matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    text(if is_name { excerpt(&value.to_string(), MAX_NAME) } else { String::new() })
}

fn text(text: String) -> Expr {
    Expr::value(Value::SingleQuotedString(text))
}

fn take(value: &mut Expr) -> Expr {
    std::mem::replace(value, Expr::value(Value::Null))
}

fn wrap(value: &mut Expr, with: impl FnOnce(Expr) -> Expr) {
    *value = with(take(value));
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
