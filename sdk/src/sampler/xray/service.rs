//! Whom a rule is for.

use opentelemetry::Key;
use opentelemetry_sdk::Resource;

use super::rule::is_like;

const LAMBDA: &str = "AWS::Lambda::Function";

/// What is known of this service when it starts.
#[derive(Debug)]
pub(super) struct Service {
    name: String,
    /// X-Ray's word for where it runs, if that is AWS.
    kind: Option<&'static str>,
    /// Of the container or of the function that it is.
    arn: Option<String>,
}

impl Service {
    /// Reads the resource as AWS's own samplers for OpenTelemetry do.
    pub(super) fn of(resource: &Resource, name: String) -> Self {
        let value = |key: &'static str| resource.get(&Key::from_static_str(key));
        let value = |key| value(key).map(|value| value.as_str().into_owned());
        let kind = value("cloud.platform").and_then(|platform| match platform.as_str() {
            "aws_ec2" => Some("AWS::EC2::Instance"),
            "aws_ecs" => Some("AWS::ECS::Container"),
            "aws_eks" => Some("AWS::EKS::Container"),
            "aws_elastic_beanstalk" => Some("AWS::ElasticBeanstalk::Environment"),
            "aws_lambda" => Some(LAMBDA),
            _ => None,
        });
        let of_function = || value("cloud.resource_id").filter(|_| kind == Some(LAMBDA));
        let arn = value("aws.ecs.container.arn").or_else(of_function);
        Self { name, kind, arn }
    }

    /// Whether the patterns of a rule mean this service. What it does not know is like a lone star
    /// only.
    pub(super) fn is_like(&self, name: &str, kind: &str, arn: &str) -> bool {
        let is_like = |pattern: &str, known: Option<&str>| {
            pattern == "*" || known.is_some_and(|known| is_like(pattern, known))
        };
        is_like(name, Some(&self.name))
            && is_like(kind, self.kind)
            && (self.is_named_by_spans() || is_like(arn, self.arn.as_deref()))
    }

    /// Whether its spans say its ARN: a function's do, in `cloud.resource_id`.
    pub(super) fn is_named_by_spans(&self) -> bool {
        self.arn.is_none() && self.kind == Some(LAMBDA)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opentelemetry::KeyValue;
    use serde_json::json;

    use super::super::rule::{Asked, Rule};
    use super::*;

    #[test]
    fn a_rule_matches_by_where_the_service_runs() {
        const TASK: &str = "arn:aws:ecs:eu-west-1:1:container/shop/a";
        const CART: &str = "arn:aws:lambda:eu-west-1:1:function:cart";
        type Attributes = &'static [(&'static str, &'static str)];
        let ecs: Attributes = &[
            ("cloud.platform", "aws_ecs"),
            ("aws.ecs.container.arn", TASK),
        ];
        let lambda: Attributes = &[
            ("cloud.platform", "aws_lambda"),
            ("cloud.resource_id", CART),
        ];
        let silent: Attributes = &[("cloud.platform", "aws_lambda")];
        let told: Attributes = &[("cloud.resource_id", CART)];
        // The resource, what the span says, type and ARN of the rule, and whether it matches.
        for (resource, span, kind, arn, expected) in [
            (ecs, &[] as Attributes, "*", "*", true),
            (ecs, &[], "AWS::ECS::Container", "*", true),
            (ecs, &[], "aws::ec?::*", TASK, true),
            (ecs, &[], "AWS::EC2::Instance", "*", false),
            (ecs, &[], "*", "arn:aws:ecs:*:container/shop/*", true),
            (ecs, &[], "*", "arn:aws:ecs:*:container/cart/*", false),
            (
                &[("cloud.platform", "aws_ec2")],
                &[],
                "AWS::EC2::Instance",
                "*",
                true,
            ),
            (
                &[("cloud.platform", "aws_eks")],
                &[],
                "AWS::EKS::Container",
                "*",
                true,
            ),
            (
                &[("cloud.platform", "aws_elastic_beanstalk")],
                &[],
                "AWS::ElasticBeanstalk::Environment",
                "*",
                true,
            ),
            (lambda, &[], "AWS::Lambda::Function", "arn:*:cart", true),
            (lambda, &[], "AWS::Lambda::Function", "arn:*:shop", false),
            // A function that only its requests name.
            (silent, told, "AWS::Lambda::*", "arn:*:cart", true),
            (silent, told, "*", "arn:*:shop", false),
            (silent, &[], "*", "arn:*:cart", false),
            (silent, &[], "*", "*", true),
            // Another cloud's identity is no ARN, and no type of AWS.
            (
                &[
                    ("cloud.platform", "gcp_cloud_run"),
                    ("cloud.resource_id", CART),
                ],
                told,
                "*",
                CART,
                false,
            ),
            (
                &[("cloud.platform", "gcp_cloud_run")],
                &[],
                "AWS::*",
                "*",
                false,
            ),
            (&[], &[], "*", "*", true),
            (&[], &[], "**", "*", false),
            (&[], told, "*", "arn:*", false),
        ] {
            let pairs = |pairs: Attributes| {
                let pairs = pairs.iter().map(|(key, value)| KeyValue::new(*key, *value));
                pairs.collect::<Vec<_>>()
            };
            let builder = Resource::builder_empty().with_attributes(pairs(resource));
            let service = Service::of(&builder.build(), "cart".to_owned());
            let rule = json!({
                "RuleName": "r", "FixedRate": 0.5, "ServiceType": kind, "ResourceARN": arn,
            });
            let rule = Rule::read(&rule, &service, Instant::now());
            let matches = rule.is_some_and(|rule| rule.matches(Asked(&pairs(span))));
            assert_eq!(matches, expected, "{resource:?} {span:?} {kind} {arn}");
        }
    }
}
