#!/usr/bin/perl

# What docs name is in the code, and what the code offers is in docs:
# directives, variables, metrics and the tool's commands. And no link of theirs
# leads nowhere.

use strict;
use warnings;

use FindBin;

use Test::More;

my $top = "$FindBin::Bin/..";


sub slurp {
    my ($path) = @_;

    open(my $file, '<', $path) or die "$path: $!\n";
    local $/;

    return scalar <$file>;
}


sub sources { return join '', map { slurp($_) } glob "$top/$_[0]" }


sub same {
    my ($docs, $code, $name) = @_;
    my %docs = map { $_ => 1 } @$docs;
    my %code = map { $_ => 1 } @$code;

    cmp_ok(scalar keys %code, '>', 5, "$name: there are some");
    is(join(' ', grep { !$docs{$_} } sort keys %code), '',
       "$name: none is missing in docs");
    is(join(' ', grep { !$code{$_} } sort keys %docs), '',
       "$name: docs name no other");
}


my $directives = slurp("$top/docs/directives.md");
my $operating = slurp("$top/docs/operating.md");
my $glue = sources('ngx_tailnet_module/*.c');

# A directive has a table with its syntax; listen and server are stock ones.

same([grep { !/^(?:listen|server)$/ } map { /(?:^|<br> )\*\*(\w+)\*\*/g }
      $directives =~ /^\| Syntax \| (.*) \|$/mg],
     [$glue =~ /\{ ngx_string\("(\w+)"\),\s+(?=NGX_\w+_CONF)/g],
     'directives');

same([$directives =~ /^\| `\$(tailnet_\w+)` \|/mg],
     [$glue =~ /ngx_string\("(tailnet_\w+)"\), NGX_TAILNET_VAR/g],
     'variables');

same([$directives =~ /^\| `(tailnet_\w+)` \| (?:gauge|counter)/mg],
     [slurp("$top/core/run/tn_metrics.c") =~ /^    \{ "(tailnet_\w+)"/mg],
     'metrics');

same([$operating =~ /^\| `(\w+)(?: [A-Z]+)?` \|/mg],
     [slurp("$top/core/run/tn_toolcmd.c") =~ /^    \{ "(\w+)", TN_IPC/mg],
     'commands');


# --- links: to a file, and to a heading of it as a browser calls it

my @pages = map { s{^\Q$top/}{}r }
    "$top/README.md", "$top/CONTRIBUTING.md", glob("$top/docs/*.md"),
    glob("$top/docs/decisions/*.md");
my (%anchor, @lost);

for my $page (@pages) {
    my $text = slurp("$top/$page") =~ s/^```.*?^```//gmsr;

    $anchor{$page}{lc($_) =~ s/[^\w\- ]//gr =~ tr/ /-/r} = 1
        for $text =~ /^#+ (.*)$/mg;
}

for my $page (@pages) {
    my $folder = $page =~ s{[^/]*$}{}r;

    for my $link (slurp("$top/$page") =~ /\]\(([^)]*)\)/g) {
        next if $link =~ /^https?:/;

        my ($path, $heading) = split /#/, $link, 2;
        my $file = $path eq '' ? $page : "$folder$path";

        1 while $file =~ s{[^/]+/\.\./}{};
        push @lost, "$page: $link"
            if !-e "$top/$file" || defined $heading && !$anchor{$file}{$heading};
    }
}

is(join(', ', @lost), '', 'all links lead somewhere');

done_testing();
