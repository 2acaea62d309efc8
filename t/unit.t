#!/usr/bin/perl

# The C unit tests, each program one subtest: all its results are good, it
# printed a plan that they keep, and it ended with status 0.

use strict;
use warnings;

use FindBin;
use TAP::Parser;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

my $build = $ENV{BUILD} || 'build';

for my $source (sort glob 't/unit/*.c') {
    my ($name) = $source =~ m{([^/]+)\.c$};
    my $program = "$build/t/unit/$name";

    if ($name =~ /^lwip/ && -e 'build/lwip.missing') {
        pass("$name: built without it");
        next;
    }

    if (!-x $program) {
        fail("$program is built (make units)");
        next;
    }

    subtest $name => sub { run_program($program) };
}

done_testing();


sub run_program {
    my ($program) = @_;

    my $parser = TAP::Parser->new({ exec => [$program], merge => 1 });
    my @heard;

    while (my $result = $parser->next) {
        if ($result->is_test) {
            my $name = $result->description =~ s/^- //r;

            ok($result->is_ok, $name =~ /^\d*$/ ? "'$name'" : $name)
                or diag(@heard);
            @heard = ();

        } elsif ($result->is_comment || $result->is_unknown) {

            # what stands before a failed result says why
            push @heard, ($result->as_string =~ s/^# ?//r) . "\n";
            shift @heard if @heard > 50;
        }
    }

    if ($parser->skip_all) {
        plan skip_all => $parser->skip_all;
    }

    is($parser->plan, '1..' . $parser->tests_run, 'it keeps its plan');
    is($parser->wait, 0, 'it ends with status 0') or diag(@heard);
    is_deeply([$parser->parse_errors], [], 'it speaks TAP');
}
