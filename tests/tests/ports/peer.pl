# Servers, clients, raw frames:
#   peer.pl serve NAME PORT...     answers over TCP and UDP, IPv4 and IPv6: NAME:PORT sees ADDRESS
#   peer.pl ask tcp|udp:ADDRESS:PORT...
#   peer.pl send LINK              sends the frames on standard input, in hexadecimal
#   peer.pl sniff LINK MARK        prints what follows MARK in every frame that comes in
#   peer.pl hold PORT              listens
#   peer.pl abstract listen|call NAME
use strict; use warnings;
use Socket qw(:DEFAULT inet_ntop inet_pton IPPROTO_IPV6 IPV6_V6ONLY SOCK_RAW);
my ($verb, @words) = @ARGV;
$SIG{TERM} = $SIG{INT} = $SIG{RTMIN} = sub { exit 0 }; $SIG{PIPE} = "IGNORE"; $| = 1;

sub shown { my ($at) = @_;
    my ($port, $ip) = sockaddr_family($at) == AF_INET6 ? unpack_sockaddr_in6($at) : unpack_sockaddr_in($at);
    my $text = inet_ntop(sockaddr_family($at), $ip); $text =~ s/^::ffff://; $text }

sub bound { my ($kind, $port) = @_;
    socket(my $s, AF_INET6, $kind, 0) or die "socket: $!";
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); setsockopt($s, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    bind($s, pack_sockaddr_in6($port, Socket::IN6ADDR_ANY)) or die "bind $port: $!\n";
    $s }

sub ask { my ($how, $ip, $port) = $_[0] =~ /^(tcp|udp):(.*):(\d+)$/ or die $_[0];
    my ($family, $at) = $ip =~ /:/ ? (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $ip)))
        : (AF_INET, pack_sockaddr_in($port, inet_aton($ip)));
    my $answer = "no answer";
    eval {
        local $SIG{ALRM} = sub { die "timed out\n" }; alarm 2;
        socket(my $s, $family, $how eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die "socket: $!\n";
        connect($s, $at) or die "$!\n"; syswrite($s, "hello\n") or die "$!\n";
        defined sysread($s, $answer, 100) or die "$!\n";
        alarm 0;
    };
    alarm 0; chomp($answer = $@ || $answer);
    print "$_[0] $answer\n" }

sub packet { my ($link, $protocol) = @_;
    socket(my $s, 17, SOCK_RAW, 0) or die "packet socket: $!\n";
    open(my $file, "<", "/sys/class/net/$link/ifindex") or die "$link: $!\n"; chomp(my $index = <$file>);
    ($s, pack("SSlSCCa8", 17, $protocol, $index, 0, 0, 0, "")) }

if ($verb eq "serve") {
    my $name = shift @words; my %tcp = map { $_ => bound(SOCK_STREAM, $_) } @words; my %udp = map { $_ => bound(SOCK_DGRAM, $_) } @words;
    listen($_, 100) or die "listen: $!" for values %tcp;
    print "serving\n";
    while (1) {
        my $ready = ""; vec($ready, fileno $_, 1) = 1 for values %tcp, values %udp;
        select($ready, undef, undef, 1) > 0 or next;
        for my $port (@words) {
            if (vec($ready, fileno $udp{$port}, 1)) { my $from = recv($udp{$port}, my $said, 100, 0); send($udp{$port}, "$name:$port sees " . shown($from) . "\n", 0, $from) if $from }
            if (vec($ready, fileno $tcp{$port}, 1) && (my $from = accept(my $peer, $tcp{$port}))) { syswrite($peer, "$name:$port sees " . shown($from) . "\n"); close $peer }
        }
    }
}
if ($verb eq "ask") { ask($_) for @words }
if ($verb eq "hold") { my $s = bound(SOCK_STREAM, $words[0]); listen($s, 1) or die; print "holding\n"; sleep }
if ($verb eq "send") {
    my ($s, $to) = packet($words[0], 0);
    while (<STDIN>) { chomp; defined send($s, pack("H*", $_), 0, $to) or die "send: $!\n" }
}
if ($verb eq "sniff") {
    # A socket of one protocol is behind the packet filter of the link; one of all protocols is before it.
    my ($link, $mark) = @words;
    my @all = map { my ($s, $at) = packet($link, unpack("S", pack("n", $_))); bind($s, $at) or die "bind: $!"; $s } 0x0800, 0x0806, 0x86dd, 0x8100, 0x88cc;
    print "sniffing\n";
    while (1) {
        my $ready = ""; vec($ready, fileno $_, 1) = 1 for @all; select($ready, undef, undef, 1) > 0 or next;
        for my $s (@all) { next unless vec($ready, fileno $s, 1); recv($s, my $frame, 2000, 0); print "$1\n" if $frame =~ /\Q$mark\E([a-z0-9-]+)/ }
    }
}
if ($verb eq "abstract") {
    my ($how, $name) = @words; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; my $at = pack("Sa*", AF_UNIX, "\0$name");
    if ($how eq "listen") { bind($s, $at) or die; listen($s, 1) or die; print "listening\n"; sleep }
    print connect($s, $at) ? "connected\n" : "$!\n";
}
