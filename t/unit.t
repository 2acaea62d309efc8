#!/usr/bin/perl

# The C unit tests, each program one subtest: all its results are good, it
# printed a plan that they keep, and it ended with status 0. Those with real
# processes, sockets and time, on a machine that may stop for seconds, have a
# second go, as lab tests have (t/lab/tests); the others have no clock.

use strict;
use warnings;

use FindBin;
use TAP::Parser;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

my $build = $ENV{BUILD} || 'build';
my $CLOCKS = qr/^(?:host_\w+|core|super|wg_go)$/;

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

    subtest $name => sub { run_program($program, $name =~ $CLOCKS) };
}

done_testing();


sub run_program {
    my ($program, $clocks) = @_;
    my $run = result_of($program);

    if ($clocks && !$run->{good}) {
        diag("$program failed, and is run once more:\n", $run->{output});
        $run = result_of($program);
    }

    if ($run->{skip}) {
        plan skip_all => $run->{skip};
    }

    ok($_->{ok}, $_->{name}) or diag($_->{heard}) for @{$run->{tests}};
    is($run->{plan}, '1..' . @{$run->{tests}}, 'it keeps its plan');
    is($run->{status}, 0, 'it ends with status 0') or diag($run->{heard});
    is_deeply($run->{errors}, [], 'it speaks TAP');
}


# One run; what stands before a failed result says why.

sub result_of {
    my ($program) = @_;
    my $parser = TAP::Parser->new({ exec => [$program], merge => 1 });
    my (@tests, @heard);
    my $output = '';

    while (my $result = $parser->next) {
        $output .= $result->as_string . "\n"
            if !$result->is_test || !$result->is_ok;

        if ($result->is_test) {
            my $name = $result->description =~ s/^- //r;

            push @tests, { ok => $result->is_ok, heard => join('', @heard),
                           name => $name =~ /^\d*$/ ? "'$name'" : $name };
            @heard = ();

        } elsif ($result->is_comment || $result->is_unknown) {
            push @heard, ($result->as_string =~ s/^# ?//r) . "\n";
            shift @heard if @heard > 50;
        }
    }

    my %run = (
        tests  => \@tests,
        skip   => $parser->skip_all,
        plan   => $parser->plan,
        status => $parser->wait,
        errors => [$parser->parse_errors],
        heard  => join('', @heard),
        output => $output,
    );

    $run{good} = $run{status} == 0 && !@{$run{errors}}
                 && !grep { !$_->{ok} } @tests;

    return \%run;
}
