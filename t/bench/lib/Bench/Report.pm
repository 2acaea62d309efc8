package Bench::Report;

# Collects the figures of all rounds; prints them as one table and as JSON:
# median and spread of each, and the ratios of ours to the others, made round
# by round so that a disturbance of the machine hits both sides of one.

use strict;
use warnings;

use JSON::PP ();
use List::Util qw(max);


# new([server kind, title], ...): in the order of the columns

sub new {
    my ($class, @servers) = @_;

    return bless {
        servers => \@servers,
        figures => [],
        known   => {},
        about   => {},
    }, $class;
}


sub about { my ($self, %about) = @_; $self->{about}{$_} = $about{$_}
            for keys %about; return $self->{about} }


# figure($name, title => '...', unit => 's/GB', format => '%.2f',
#        ratio => 0 for none): declares one, in the order of the rows

sub figure {
    my ($self, $name, %opt) = @_;
    my $figure = { name => $name, format => '%.2f', ratio => 1, %opt,
                   values => {} };

    push @{$self->{figures}}, $figure;
    $self->{known}{$name} = $figure;
}


sub add {
    my ($self, $server, %values) = @_;

    push @{$self->{known}{$_}{values}{$server}}, $values{$_}
        for grep { defined $values{$_} } keys %values;
}


# The same in a round of that number; what failed in one has no value there.

sub add_at {
    my ($self, $round, $server, %values) = @_;

    $self->{known}{$_}{values}{$server}[$round] = $values{$_}
        for grep { defined $values{$_} } keys %values;
}


sub summary {
    my (@values) = grep { defined } @_;
    my @sorted = sort { $a <=> $b } @values;
    my $middle = int(@sorted / 2);

    return unless @sorted;

    return {
        median => @sorted % 2 ? $sorted[$middle]
            : ($sorted[$middle - 1] + $sorted[$middle]) / 2,
        min    => $sorted[0],
        max    => $sorted[-1],
        rounds => \@values,
    };
}


# The summary of ours / rival, pair by pair.

sub ratio {
    my ($figure, $rival) = @_;
    my $ours = $figure->{values}{ours} // [];
    my $theirs = $figure->{values}{$rival} // [];
    my @ratios;

    return unless $figure->{ratio};

    for my $i (0 .. $#$ours) {
        push @ratios, $ours->[$i] / $theirs->[$i]
            if defined $ours->[$i] && $theirs->[$i];
    }

    return summary(@ratios);
}


sub cell {
    my ($format, $summary) = @_;

    return '-' unless $summary;

    my $text = sprintf $format, $summary->{median};

    $text .= sprintf " ($format-$format)", @{$summary}{qw(min max)}
        if @{$summary->{rounds}} > 1;

    return $text;
}


sub table {
    my ($self) = @_;
    my @servers = @{$self->{servers}};
    my @rivals = grep { $_->[0] ne 'ours' } @servers;
    my $have_ours = @rivals < @servers;
    my @rows = (['figure', 'unit', map({ $_->[1] } @servers),
                 $have_ours ? map({ "ours / $_->[0]" } @rivals) : ()]);

    for my $figure (grep { %{$_->{values}} } @{$self->{figures}}) {
        push @rows, [
            $figure->{title}, $figure->{unit},
            map({ cell($figure->{format},
                       summary(@{$figure->{values}{$_->[0]} // []}))
            } @servers),
            $have_ours
                ? map({ cell('%.2f', ratio($figure, $_->[0])) } @rivals) : (),
        ];
    }

    my @width = map { my $i = $_; max(map { length $_->[$i] } @rows) }
        0 .. $#{$rows[0]};

    return join '', map {
        my $row = $_;
        join('  ', map { sprintf '%-*s', $width[$_], $row->[$_] }
             0 .. $#$row) =~ s/ +$//r . "\n"
    } $rows[0], [map { '-' x $_ } @width], @rows[1 .. $#rows];
}


sub json {
    my ($self) = @_;
    my @figures;

    for my $figure (grep { %{$_->{values}} } @{$self->{figures}}) {
        my %out = map { $_ => $figure->{$_} } qw(name title unit);

        for my $server (map { $_->[0] } @{$self->{servers}}) {
            $out{servers}{$server} =
                summary(@{$figure->{values}{$server} // []}) // next;
            next if $server eq 'ours';
            $out{ratios}{"ours/$server"} = ratio($figure, $server) // next;
        }

        push @figures, \%out;
    }

    return JSON::PP->new->canonical->pretty->encode({
        %{$self->{about}}, figures => \@figures,
    });
}


1;
