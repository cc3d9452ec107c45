# Reference values of R's pROC: Rscript reference.R reference.csv > reference.txt
# With "aSAH" in place of the table, pROC's own data: Rscript reference.R aSAH rows.csv writes them to rows.csv too.
suppressPackageStartupMessages(library(pROC))
arguments <- commandArgs(trailingOnly = TRUE)
if (arguments[1] == "aSAH") {
  data(aSAH)
  table <- data.frame(label = as.integer(aSAH$outcome == "Poor"), first = as.integer(aSAH$wfns), second = aSAH$s100b)
  write.csv(table, arguments[2], row.names = FALSE)
} else {
  table <- read.csv(arguments[1])
}
say <- function(name, value) cat(name, formatC(as.numeric(value), digits = 15, format = "g"), "\n")
curve <- function(scores) roc(table$label, scores, quiet = TRUE, direction = "<", levels = c(0, 1))
first <- curve(table$first)
second <- curve(table$second)
for (name in c("first", "second")) {
  interval <- ci.auc(get(name), method = "delong")
  say(paste0("auroc_", name), interval[2])
  say(paste0("low_", name), interval[1])
  say(paste0("high_", name), interval[3])
  say(paste0("variance_", name), var(get(name), method = "delong"))
  part <- c(1, 0.8)
  say(paste0("partial_", name), auc(get(name), partial.auc = part))
  say(paste0("partial_standard_", name), auc(get(name), partial.auc = part, partial.auc.correct = TRUE) )
  part <- c(0.9, 0.7)
  say(paste0("middle_", name), auc(get(name), partial.auc = part))
  say(paste0("middle_standard_", name), auc(get(name), partial.auc = part, partial.auc.correct = TRUE) )
  best <- coords(get(name), "best", best.method = "youden", transpose = FALSE)
  say(paste0("youden_", name), max(best$sensitivity + best$specificity))
}
say("covariance", cov(first, second, method = "delong"))
test <- roc.test(first, second, method = "delong")
say("z", test$statistic)
say("p", test$p.value)
say("low_difference", test$conf.int[1])
say("high_difference", test$conf.int[2])
for (index in 1:5) say(paste0("holm_", index), p.adjust(c(0.01, 0.04, 0.03, 0.5, 0.01), method = "holm")[index])
say("mcnemar_exact_3_12", binom.test(3, 15)$p.value)
